package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/coaidev/coai/internal/app"
)

func (c *cli) migrate() *cobra.Command {
	up := c.action(func(cmd *cobra.Command, _ []string) error {
		s, err := c.start(cmd)
		if err != nil {
			return err
		}
		defer s.flush()
		n, err := app.Migrate(cmd.Context(), s.cfg, s.log)
		if err != nil {
			return err
		}
		cmd.Printf("%d migrations applied; the schema is up to date.\n", n)
		return nil
	})
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database schema up to date, or back",
		Long: `Brings the database schema up to date. Several processes may do so at once: one
works, the others wait. A start of 'coai serve' or 'coai worker' does the same
unless COAI_AUTO_MIGRATE is false.`,
		Example: `  coai migrate
  coai migrate status
  coai migrate down --to 1`,
		Args: cobra.NoArgs,
		RunE: up,
	}
	addSettings(cmd.PersistentFlags(), "Storage", "Telemetry")
	cmd.AddCommand(
		&cobra.Command{Use: "up", Short: "Apply all migrations that are missing", Args: cobra.NoArgs, RunE: up},
		c.migrateDown(), c.migrateStatus())
	return cmd
}

func (c *cli) migrateDown() *cobra.Command {
	var to int64
	cmd := &cobra.Command{
		Use:   "down --to VERSION",
		Short: "Take the schema back to a version",
		Long: `Takes the schema back to a version, undoing the migrations above it. Version 0
drops all tables. This deletes data: make a backup, and stop all processes.`,
		Example: `  coai migrate down --to 1`,
		Args:    cobra.NoArgs,
		RunE: c.action(func(cmd *cobra.Command, _ []string) error {
			if to < 0 {
				return wrongUsage("--to must be 0 or more; got %d", to)
			}
			s, err := c.start(cmd)
			if err != nil {
				return err
			}
			defer s.flush()
			if err := app.MigrateDown(cmd.Context(), s.cfg, s.log, to); err != nil {
				return err
			}
			cmd.Printf("The schema is at version %d.\n", to)
			return nil
		}),
	}
	cmd.Flags().Int64Var(&to, "to", 0, "Version to go back to; 0 drops all tables")
	_ = cmd.MarkFlagRequired("to") // fails only for a flag that does not exist
	return cmd
}

type migrationView struct {
	Version   int64   `json:"version"`
	Name      string  `json:"name"`
	AppliedAt *string `json:"applied_at"`
}

func (c *cli) migrateStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "List the migrations and when each was applied",
		Args:  cobra.NoArgs,
		RunE: c.action(func(cmd *cobra.Command, _ []string) error {
			s, err := c.start(cmd)
			if err != nil {
				return err
			}
			defer s.flush()
			list, err := app.MigrationStatus(cmd.Context(), s.cfg, s.log)
			if err != nil {
				return err
			}
			views := make([]migrationView, len(list))
			rows := make([][]string, len(list))
			for i, m := range list {
				views[i] = migrationView{m.Version, m.Name, stamp(m.AppliedAt)}
				rows[i] = []string{strconv.FormatInt(m.Version, 10), m.Name, orDash(views[i].AppliedAt)}
			}
			return show(cmd, views, []string{"VERSION", "NAME", "APPLIED"}, rows)
		}),
	}
	addJSON(cmd)
	return cmd
}
