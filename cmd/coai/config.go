package main

import "github.com/spf13/cobra"

func (c *cli) config() *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the settings in use and where each comes from",
		Long: `Prints the settings in use and where each comes from; secrets are hidden. With
--check it prints nothing but mistakes, and exits with code 2 when there are any.

Settings come from flags, COAI_* variables, or a YAML file, in this order:

  # coai.yaml
  addr: 0.0.0.0:8080
  data_dir: /var/lib/coai
  log_format: json`,
		Example: `  coai config
  coai config --config coai.yaml --check`,
		Args: cobra.NoArgs,
		RunE: c.action(func(cmd *cobra.Command, _ []string) error {
			s, err := c.start(cmd)
			if err != nil {
				return err
			}
			defer s.flush()
			switch {
			case check:
				return nil
			case wantsJSON(cmd):
				return writeJSON(cmd.OutOrStdout(), s.cfg.EffectiveSettings())
			}
			cmd.Print(s.cfg.Effective())
			return nil
		}),
	}
	addSettings(cmd.Flags())
	cmd.Flags().BoolVar(&check, "check", false, "Only look for mistakes")
	addJSON(cmd)
	return cmd
}
