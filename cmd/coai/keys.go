package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/coaidev/coai/internal/app"
	"github.com/coaidev/coai/models"
)

func (c *cli) keys() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Manage API keys",
		Long: `Manages API keys, straight in the database: no API key is needed, and a server
may run beside it; it notices changes within seconds.

A key's secret is printed once, when it is made or rotated; only its hash is
kept.`,
	}
	addSettings(cmd.PersistentFlags(), "Storage", "Telemetry")
	cmd.AddCommand(c.createKey(), c.listKeys(), c.rotateKey(), c.revokeKey())
	return cmd
}

type keyView struct {
	*models.APIKey
	CreatedAt  *string `json:"created_at"`
	ExpiresAt  *string `json:"expires_at"`
	RevokedAt  *string `json:"revoked_at"`
	LastUsedAt *string `json:"last_used_at"`
	Secret     string  `json:"secret,omitempty"` // only when made or rotated
}

func viewKey(k *models.APIKey, secret string) keyView {
	return keyView{k, stamp(&k.CreatedAt), stamp(k.ExpiresAt), stamp(k.RevokedAt), stamp(k.LastUsedAt), secret}
}

// showSecret prints a key that was just made: for people the secret alone on
// the last line, easy to copy.
func showSecret(cmd *cobra.Command, k *models.APIKey, secret string) error {
	v := viewKey(k, secret)
	if wantsJSON(cmd) {
		return writeJSON(cmd.OutOrStdout(), v)
	}
	cmd.Printf("%s (%s) for %s, scopes %s, expires %s\nThe secret is shown only now:\n%s\n",
		k.ID, k.Name, k.UserID, joined(k.Scopes, "none"), orDash(v.ExpiresAt), secret)
	return nil
}

func (c *cli) createKey() *cobra.Command {
	var in models.CreateAPIKeyInput
	var user, expires string
	var scopes []string
	cmd := &cobra.Command{
		Use:   "create --user EMAIL",
		Short: "Make an API key and print its secret",
		Long: `Makes an API key for a user and prints its secret, once.

Scopes: chat, models:read, files, conversations, analytics:read, webhooks, keys,
profile, admin. Without --scopes a key has all but admin.`,
		Example: `  coai keys create --user ada@example.com --name laptop
  coai keys create --user ada@example.com --name ci --scopes chat,models:read --expires 720h
  coai keys create --user ada@example.com --name office --models gpt-5-mini --cidrs 203.0.113.0/24`,
		Args: cobra.NoArgs,
		RunE: c.action(func(cmd *cobra.Command, _ []string) error {
			for _, s := range scopes {
				in.Scopes = append(in.Scopes, models.Scope(s))
			}
			at, err := parseExpiry(expires, time.Now())
			if err != nil {
				return err
			}
			in.ExpiresAt = at
			return c.operate(cmd, func(ctx context.Context, o *app.Operator) error {
				k, secret, err := o.CreateKey(ctx, user, in)
				if err != nil {
					return err
				}
				return showSecret(cmd, k, secret)
			})
		}),
	}
	f := cmd.Flags()
	f.StringVar(&user, "user", "", "E-mail address of the key's owner")
	f.StringVar(&in.Name, "name", "command line", "Name for people")
	f.StringSliceVar(&scopes, "scopes", nil, "What the key may do, comma-separated")
	f.StringVar(&expires, "expires", "", "When it ends: a duration such as 720h, a date such as 2030-01-31, or RFC 3339")
	f.StringSliceVar(&in.AllowedModels, "models", nil, "The only models it may use, comma-separated")
	f.StringSliceVar(&in.AllowedCIDRs, "cidrs", nil, "The only networks it may be used from, comma-separated")
	_ = cmd.MarkFlagRequired("user") // fails only for a flag that does not exist
	addJSON(cmd)
	return cmd
}

func parseExpiry(s string, now time.Time) (*time.Time, error) {
	if s == "" {
		return nil, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		at := now.Add(d).UTC().Truncate(time.Microsecond)
		return &at, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, s); err == nil {
			at = at.UTC()
			return &at, nil
		}
	}
	return nil, wrongUsage("--expires %q is no duration such as 720h, no date such as 2030-01-31 and no RFC 3339 time", s)
}

func (c *cli) listKeys() *cobra.Command {
	var user string
	var revoked bool
	cmd := &cobra.Command{
		Use:   "list --user EMAIL",
		Short: "List a user's API keys",
		Example: `  coai keys list --user ada@example.com
  coai keys list --user ada@example.com --revoked`,
		Args: cobra.NoArgs,
		RunE: c.action(func(cmd *cobra.Command, _ []string) error {
			return c.operate(cmd, func(ctx context.Context, o *app.Operator) error {
				list, err := o.Keys(ctx, user, revoked)
				if err != nil {
					return err
				}
				views := make([]keyView, len(list))
				rows := make([][]string, len(list))
				for i, k := range list {
					v := viewKey(k, "")
					views[i] = v
					rows[i] = []string{k.ID, k.Name, k.Display, joined(k.Scopes, "-"), orDash(v.LastUsedAt), orDash(v.ExpiresAt), orDash(v.RevokedAt)}
				}
				return show(cmd, views, []string{"ID", "NAME", "KEY", "SCOPES", "LAST USED", "EXPIRES", "REVOKED"}, rows)
			})
		}),
	}
	cmd.Flags().StringVar(&user, "user", "", "E-mail address of the keys' owner")
	cmd.Flags().BoolVar(&revoked, "revoked", false, "List those that were revoked, instead of those that live")
	_ = cmd.MarkFlagRequired("user") // fails only for a flag that does not exist
	addJSON(cmd)
	return cmd
}

func (c *cli) rotateKey() *cobra.Command {
	var grace time.Duration
	cmd := &cobra.Command{
		Use:     "rotate ID",
		Short:   "Give a key a new secret; the old one stays valid for a while",
		Example: `  coai keys rotate key_06f0… --grace 1h`,
		Args:    cobra.ExactArgs(1),
		RunE: c.action(func(cmd *cobra.Command, args []string) error {
			return c.operate(cmd, func(ctx context.Context, o *app.Operator) error {
				k, secret, err := o.RotateKey(ctx, args[0], &grace)
				if err != nil {
					return err
				}
				return showSecret(cmd, k, secret)
			})
		}),
	}
	cmd.Flags().DurationVar(&grace, "grace", models.DefaultRotationGrace, "How long the old secret stays valid, at most 720h")
	addJSON(cmd)
	return cmd
}

func (c *cli) revokeKey() *cobra.Command {
	return &cobra.Command{
		Use:     "revoke ID",
		Short:   "End a key for good",
		Example: `  coai keys revoke key_06f0…`,
		Args:    cobra.ExactArgs(1),
		RunE: c.action(func(cmd *cobra.Command, args []string) error {
			return c.operate(cmd, func(ctx context.Context, o *app.Operator) error {
				if err := o.RevokeKey(ctx, args[0]); err != nil {
					return err
				}
				cmd.Printf("%s is revoked.\n", args[0])
				return nil
			})
		}),
	}
}
