package main

import (
	"github.com/spf13/cobra"

	"github.com/coaidev/coai/internal/app"
)

func (c *cli) version() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print which build this is",
		Args:  cobra.NoArgs,
		RunE: c.action(func(cmd *cobra.Command, _ []string) error {
			v := app.BuildVersion()
			if wantsJSON(cmd) {
				return writeJSON(cmd.OutOrStdout(), v)
			}
			cmd.Println(v)
			return nil
		}),
	}
	addJSON(cmd)
	return cmd
}
