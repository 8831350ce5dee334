package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/coaidev/coai/internal/app"
)

func (c *cli) jobs() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "jobs",
		Short: "See and run the periodic jobs",
		Long: `Shows the periodic jobs and runs them by hand, straight on the database: no API
key is needed, and a server may run beside it.`,
	}
	addSettings(cmd.PersistentFlags(), "Storage", "Security", "Telemetry", "Workers")
	cmd.AddCommand(c.listJobs(), c.runJob())
	return cmd
}

func (c *cli) listJobs() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the jobs and their last runs",
		Args:  cobra.NoArgs,
		RunE: c.action(func(cmd *cobra.Command, _ []string) error {
			return c.operate(cmd, func(ctx context.Context, o *app.Operator) error {
				jobs, err := o.Jobs(ctx)
				if err != nil {
					return err
				}
				views := make([]map[string]any, 0, len(jobs))
				rows := make([][]string, 0, len(jobs))
				for _, j := range jobs {
					next, outcome, took := j.NextAt(), "-", "-"
					if j.Outcome != nil {
						outcome = string(*j.Outcome)
					}
					if ms := j.DurationMS(); ms != nil {
						took = fmt.Sprintf("%d ms", *ms)
					}
					views = append(views, map[string]any{
						"name": j.Name, "description": j.Description, "interval_seconds": j.IntervalSeconds, "outcome": j.Outcome,
						"error": j.Error, "started_at": stamp(j.StartedAt), "duration_ms": j.DurationMS(), "next_at": stamp(&next),
					})
					rows = append(rows, []string{
						j.Name, outcome, orDash(stamp(j.StartedAt)), took, orDash(stamp(&next)), orDash(j.Error),
					})
				}
				return show(cmd, views, []string{"NAME", "OUTCOME", "STARTED", "TOOK", "NEXT", "ERROR"}, rows)
			})
		}),
	}
	addJSON(cmd)
	return cmd
}

func (c *cli) runJob() *cobra.Command {
	return &cobra.Command{
		Use:     "run NAME",
		Short:   "Run a job now, and wait for it",
		Example: `  coai jobs run housekeeping`,
		Args:    cobra.ExactArgs(1),
		RunE: c.action(func(cmd *cobra.Command, args []string) error {
			s, err := c.start(cmd)
			if err != nil {
				return err
			}
			defer s.flush()
			if err := app.RunJob(cmd.Context(), s.cfg, s.log, args[0]); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s ran.\n", args[0])
			return err
		}),
	}
}
