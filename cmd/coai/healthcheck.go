package main

import (
	"github.com/spf13/cobra"

	"github.com/coaidev/coai/internal/app"
)

func (c *cli) healthcheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask a running process whether it is ready",
		Long: `Asks /readyz of the process that runs on this machine with the same settings, at
the metrics address if there is one, else where it serves. Exits with code 0 when
it is ready and 1 when it is not: for containers, which have no curl.`,
		Args: cobra.NoArgs,
		RunE: c.action(func(cmd *cobra.Command, _ []string) error {
			s, err := c.start(cmd)
			if err != nil {
				return err
			}
			defer s.flush()
			return app.Healthcheck(cmd.Context(), s.cfg)
		}),
	}
	addSettings(cmd.Flags())
	return cmd
}
