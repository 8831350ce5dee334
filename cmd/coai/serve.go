package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/coaidev/coai/internal/app"
)

func (c *cli) serve() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the API (what coai does without a command)",
		Long: `Serves REST under /v1 and GraphQL under /graphql, and runs the periodic jobs.

The first start on an empty database makes an administrator and prints an API
key, once. SIGTERM or Ctrl-C lets running requests finish (--shutdown-timeout);
a second signal ends the process at once. After a crash or kill just start
again: no step by hand is needed.

The embedded SQLite database serves one process. For several, on one machine or
many, give all of them the same COAI_DATABASE_URL (PostgreSQL), COAI_REDIS_URL
and COAI_MASTER_KEY.`,
		Example: `  coai serve
  coai serve --addr 0.0.0.0:8080 --metrics-addr 127.0.0.1:9090
  coai serve --config /etc/coai.yaml --worker=false`,
		Args: cobra.NoArgs,
		RunE: c.action(func(cmd *cobra.Command, _ []string) error {
			s, err := c.start(cmd)
			if err != nil {
				return err
			}
			defer s.flush()
			s.cfg.TuneRuntime(os.DirFS("/"))
			a, err := app.New(cmd.Context(), s.cfg, s.log)
			if err != nil {
				return err
			}
			a.Out = cmd.OutOrStdout()
			return a.Run(cmd.Context())
		}),
	}
	addSettings(cmd.Flags())
	return cmd
}

func (c *cli) worker() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Run the periodic jobs and deliver webhooks only",
		Long: `Runs the periodic jobs, delivers webhooks, and serves no API. Serving processes
do so too unless they are told COAI_WORKER=false. Any number of workers may run:
each run of a job, and each delivery, is taken by one of them. SIGTERM lets
deliveries that run finish for ten seconds; others make the rest.

With --metrics-addr it answers /healthz, /readyz and /metrics there.`,
		Example: `  COAI_DATABASE_URL=postgres://coai@db/coai COAI_REDIS_URL=redis://cache:6379 coai worker`,
		Args:    cobra.NoArgs,
		RunE: c.action(func(cmd *cobra.Command, _ []string) error {
			s, err := c.start(cmd)
			if err != nil {
				return err
			}
			defer s.flush()
			s.cfg.TuneRuntime(os.DirFS("/"))
			w, err := app.NewWorker(cmd.Context(), s.cfg, s.log)
			if err != nil {
				return err
			}
			return w.Run(cmd.Context())
		}),
	}
	addSettings(cmd.Flags())
	return cmd
}
