package main

import (
	"bufio"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coaidev/coai/internal/app"
	"github.com/coaidev/coai/models"
)

func (c *cli) channels() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "channels",
		Short: "Manage the upstreams that answer",
		Long: `Manages channels: the upstreams that answer, each with its models. It works
straight on the database: no API key is needed, and a server may run beside it;
it notices changes within seconds.

A credential is never given on the command line, where others could see it: name
a variable that holds it (--credential-env), or pipe it in (--credential-stdin).`,
	}
	addSettings(cmd.PersistentFlags(), "Storage", "Security", "Telemetry")
	cmd.AddCommand(c.listChannels(), c.createChannel(), c.updateChannel(), c.testChannel(),
		c.switchChannel("enable", "Let requests go to a channel", models.ChannelEnabled),
		c.switchChannel("disable", "Keep requests away from a channel", models.ChannelDisabled),
		c.deleteChannel())
	return cmd
}

type channelView struct {
	*models.Channel
	Status    models.ChannelStatus `json:"status"`
	Health    *struct{}            `json:"health,omitempty"` // known to serving processes only
	CreatedAt *string              `json:"created_at"`
}

func viewChannel(ch *models.Channel) channelView {
	return channelView{Channel: ch, Status: ch.Status(), CreatedAt: stamp(&ch.CreatedAt)}
}

func showChannels(cmd *cobra.Command, v any, list []*models.Channel) error {
	rows := make([][]string, len(list))
	for i, ch := range list {
		rows[i] = []string{
			ch.ID, ch.Name, string(ch.Type), string(ch.Status()), strconv.Itoa(ch.Priority), strconv.Itoa(ch.Weight),
			orDash(ch.KeyHint), orDash(&ch.BaseURL), joined(ch.Models, "-"),
		}
	}
	return show(cmd, v, []string{"ID", "NAME", "TYPE", "STATUS", "PRIORITY", "WEIGHT", "CREDENTIAL", "BASE URL", "MODELS"}, rows)
}

func (c *cli) listChannels() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the channels",
		Args:  cobra.NoArgs,
		RunE: c.action(func(cmd *cobra.Command, _ []string) error {
			return c.operate(cmd, func(ctx context.Context, o *app.Operator) error {
				list, err := o.Channels(ctx)
				if err != nil {
					return err
				}
				views := make([]channelView, len(list))
				for i, ch := range list {
					views[i] = viewChannel(ch)
				}
				return showChannels(cmd, views, list)
			})
		}),
	}
	addJSON(cmd)
	return cmd
}

func (c *cli) createChannel() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create --name NAME (--type TYPE | --preset PRESET) --models MODELS",
		Short: "Make a channel",
		Long: `Makes a channel. Types: openai (OpenAI's API, or any compatible with it), azure,
anthropic, gemini, ollama, and echo (built in, for trying out).

--preset names a well-known upstream, such as openrouter, deepseek, groq or vllm,
and says what is left out: its type, base URL, headers and habits.`,
		Example: `  OPENAI_API_KEY=sk-… coai channels create --name OpenAI --type openai --models gpt-5,gpt-5-mini --credential-env OPENAI_API_KEY
  coai channels create --name local --type ollama --models llama3.2
  coai channels create --name router --preset openrouter --models openai/gpt-5 --credential-env OPENROUTER_API_KEY
  pass show vendor | coai channels create --name vendor --type openai --base-url https://llm.example.com/v1 --models fast --credential-stdin`,
		Args: cobra.NoArgs,
	}
	flags := addChannelFlags(cmd)
	kind := cmd.Flags().String("type", "", "openai, azure, anthropic, gemini, ollama or echo")
	preset := cmd.Flags().String("preset", "", "Well-known upstream that says what is left out")
	cmd.MarkFlagsOneRequired("type", "preset")
	_ = cmd.MarkFlagRequired("name") // fails only for a flag that does not exist
	addJSON(cmd)
	cmd.RunE = c.action(func(cmd *cobra.Command, _ []string) error {
		in, err := flags.input(c, cmd)
		if err != nil {
			return err
		}
		in.Type = (*models.ChannelType)(kind)
		if *preset != "" {
			in.Preset = preset
		}
		return c.operate(cmd, func(ctx context.Context, o *app.Operator) error {
			ch, err := o.CreateChannel(ctx, in)
			if err != nil {
				return err
			}
			return showChannels(cmd, viewChannel(ch), []*models.Channel{ch})
		})
	})
	return cmd
}

func (c *cli) updateChannel() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "update ID",
		Short: "Change a channel; what no flag names stays",
		Example: `  coai channels update ch_06f0… --weight 3 --rpm 600
  NEW_KEY=sk-… coai channels update ch_06f0… --credential-env NEW_KEY`,
		Args: cobra.ExactArgs(1),
	}
	flags := addChannelFlags(cmd)
	addJSON(cmd)
	cmd.RunE = c.action(func(cmd *cobra.Command, args []string) error {
		in, err := flags.input(c, cmd)
		if err != nil {
			return err
		}
		return c.changeChannel(cmd, args[0], in)
	})
	return cmd
}

func (c *cli) switchChannel(verb, short string, to models.ChannelStatus) *cobra.Command {
	cmd := &cobra.Command{
		Use: verb + " ID", Short: short, Example: "  coai channels " + verb + " ch_06f0…", Args: cobra.ExactArgs(1),
		RunE: c.action(func(cmd *cobra.Command, args []string) error {
			return c.changeChannel(cmd, args[0], app.ChannelInput{Status: &to})
		}),
	}
	addJSON(cmd)
	return cmd
}

func (c *cli) changeChannel(cmd *cobra.Command, id string, in app.ChannelInput) error {
	return c.operate(cmd, func(ctx context.Context, o *app.Operator) error {
		ch, err := o.UpdateChannel(ctx, id, in)
		if err != nil {
			return err
		}
		return showChannels(cmd, viewChannel(ch), []*models.Channel{ch})
	})
}

func (c *cli) testChannel() *cobra.Command {
	var model string
	cmd := &cobra.Command{
		Use:     "test ID",
		Short:   "Ask a channel for a minimal completion; exits with 1 when it fails",
		Example: `  coai channels test ch_06f0… --model gpt-5-mini`,
		Args:    cobra.ExactArgs(1),
		RunE: c.action(func(cmd *cobra.Command, args []string) error {
			return c.operate(cmd, func(ctx context.Context, o *app.Operator) error {
				res, err := o.TestChannel(ctx, args[0], model)
				if err != nil {
					return err
				}
				err = show(cmd, res, []string{"SUCCESS", "MODEL", "LATENCY", "ERROR"}, [][]string{{
					strconv.FormatBool(res.Success), res.Model, strconv.Itoa(res.LatencyMS) + " ms", orDash(res.Error),
				}})
				if err == nil && !res.Success {
					err = errTestFailed
				}
				return err
			})
		}),
	}
	cmd.Flags().StringVar(&model, "model", "", "Model to ask for (default: the channel's first)")
	addJSON(cmd)
	return cmd
}

func (c *cli) deleteChannel() *cobra.Command {
	return &cobra.Command{
		Use: "delete ID", Short: "Delete a channel", Example: `  coai channels delete ch_06f0…`, Args: cobra.ExactArgs(1),
		RunE: c.action(func(cmd *cobra.Command, args []string) error {
			return c.operate(cmd, func(ctx context.Context, o *app.Operator) error {
				if err := o.DeleteChannel(ctx, args[0]); err != nil {
					return err
				}
				cmd.Printf("%s is deleted.\n", args[0])
				return nil
			})
		}),
	}
}

// channelFlags are the flags that describe a channel.
type channelFlags struct {
	name, baseURL, credentialEnv, organization, proxyURL string
	credentialStdin                                      bool
	models                                               []string
	mapping                                              map[string]string
	priority, weight, rpm, tpm, concurrency              int
}

func addChannelFlags(cmd *cobra.Command) *channelFlags {
	v, f := &channelFlags{}, cmd.Flags()
	f.StringVar(&v.name, "name", "", "Name for people")
	f.StringVar(&v.baseURL, "base-url", "", "Where the API is, such as https://api.openai.com/v1 (the default of type openai)")
	f.StringSliceVar(&v.models, "models", nil, "Models that it serves, comma-separated")
	f.StringToStringVar(&v.mapping, "model-mapping", nil, "Our name=the upstream's name, comma-separated")
	f.StringVar(&v.credentialEnv, "credential-env", "", "Name of the variable that holds the upstream's API key")
	f.BoolVar(&v.credentialStdin, "credential-stdin", false, "Read the upstream's API key from standard input")
	f.StringVar(&v.organization, "organization", "", "OpenAI organization")
	f.StringVar(&v.proxyURL, "proxy-url", "", "Proxy to go through: http, https or socks5")
	f.IntVar(&v.priority, "priority", 0, "Higher goes first")
	f.IntVar(&v.weight, "weight", 1, "Share among channels of one priority")
	f.IntVar(&v.rpm, "rpm", 0, "Most requests in a minute, over all processes")
	f.IntVar(&v.tpm, "tpm", 0, "Most tokens in a minute, over all processes")
	f.IntVar(&v.concurrency, "concurrency", 0, "Most requests at a time, over all processes")
	cmd.MarkFlagsMutuallyExclusive("credential-env", "credential-stdin")
	return v
}

// input is what the given flags say; the others stay nil.
func (v *channelFlags) input(c *cli, cmd *cobra.Command) (app.ChannelInput, error) {
	var in app.ChannelInput
	given := cmd.Flags().Changed
	text := func(flag string, value *string) *string {
		if !given(flag) {
			return nil
		}
		return value
	}
	count := func(flag string, value *int) *int {
		if !given(flag) {
			return nil
		}
		return value
	}
	in.Name, in.BaseURL = text("name", &v.name), text("base-url", &v.baseURL)
	in.Models, in.ModelMapping = v.models, v.mapping
	in.Priority, in.Weight = count("priority", &v.priority), count("weight", &v.weight)
	if slices.ContainsFunc([]string{"rpm", "tpm", "concurrency"}, given) {
		in.Limits = &models.ChannelLimits{
			RPM: count("rpm", &v.rpm), TPM: count("tpm", &v.tpm), Concurrency: count("concurrency", &v.concurrency),
		}
	}
	if given("organization") || given("proxy-url") {
		in.Settings = &models.ChannelSettings{Organization: text("organization", &v.organization), ProxyURL: text("proxy-url", &v.proxyURL)}
	}
	credential, err := v.credential(c, cmd)
	in.Credential = credential
	return in, err
}

// credential reads the upstream's key from where the flags say.
func (v *channelFlags) credential(c *cli, cmd *cobra.Command) (*string, error) {
	switch {
	case v.credentialStdin:
		line, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n') // an error leaves what there was
		if line = strings.TrimSpace(line); line != "" {
			return &line, nil
		}
		return nil, wrongUsage("--credential-stdin: standard input is empty")
	case v.credentialEnv != "":
		for _, entry := range slices.Backward(c.environ) {
			if value, ok := strings.CutPrefix(entry, v.credentialEnv+"="); ok && value != "" {
				return &value, nil
			}
		}
		return nil, wrongUsage("--credential-env: the variable %s is not set", v.credentialEnv)
	}
	return nil, nil
}
