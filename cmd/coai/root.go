package main

import (
	"context"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/coaidev/coai/internal/app"
)

// cli builds the commands and remembers how far one got.
type cli struct {
	process
	ran bool // the command line was understood and the command began
}

// action makes a command's body; what fails before it is a mistake in usage.
func (c *cli) action(fn func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c.ran = true
		return fn(cmd, args)
	}
}

func (c *cli) root() *cobra.Command {
	root := c.serve()
	root.Use = "coai"
	root.Short = "A gateway between an organisation and AI models"
	root.Long = `CoAI is a gateway between an organisation and AI models. It serves an
OpenAI-compatible REST API under /v1 and a GraphQL API under /graphql.

Without a command it serves, as 'coai serve' does. It needs nothing but a
directory to write to: the database, the queue and an echo model to try are
built in. The first start prints the URL and an administrator's API key.

Exit codes: 0 success, 1 failure, 2 a mistake on the command line or in the
settings.`
	root.Example = `  coai                                        # serve on 127.0.0.1:8080, records in ./data
  coai serve --addr :8080 --data-dir /var/lib/coai
  COAI_DATABASE_URL=postgres://coai@db/coai COAI_REDIS_URL=redis://cache:6379 coai serve
  coai keys create --user admin@localhost --name laptop`
	root.SilenceUsage, root.SilenceErrors = true, true
	root.CompletionOptions.HiddenDefaultCmd = true
	root.PersistentFlags().String("config", "", "YAML file with settings [COAI_CONFIG]")
	root.SetUsageFunc(usage)
	root.AddCommand(c.serve(), c.worker(), c.migrate(), c.admin(), c.keys(), c.channels(), c.models(), c.jobs(), c.config(), c.healthcheck(), c.version())
	return root
}

// session is what a command works with.
type session struct {
	cfg   *app.Config
	log   zerolog.Logger
	flush func()
}

// start loads the settings for a command.
func (c *cli) start(cmd *cobra.Command) (*session, error) {
	file, err := cmd.Flags().GetString("config")
	if err != nil {
		return nil, err
	}
	cfg, err := app.Load(app.Sources{Flags: givenSettings(cmd), Environ: c.environ, File: file})
	if err != nil {
		return nil, err
	}
	log, flush := app.NewLogger(cfg, cmd.ErrOrStderr(), c.terminal)
	for _, w := range cfg.Warnings() {
		log.Warn().Msg(w)
	}
	return &session{cfg, log, flush}, nil
}

// operate runs fn on the records.
func (c *cli) operate(cmd *cobra.Command, fn func(ctx context.Context, o *app.Operator) error) (err error) {
	s, err := c.start(cmd)
	if err != nil {
		return err
	}
	defer s.flush()
	ctx := cmd.Context()
	o, err := app.OpenOperator(ctx, s.cfg, s.log)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := o.Close(ctx); err == nil {
			err = closeErr
		}
	}()
	return fn(ctx, o)
}
