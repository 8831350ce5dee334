package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/coaidev/coai/internal/app"
	"github.com/coaidev/coai/models"
)

func (c *cli) models() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "models",
		Short: "Manage the catalogue of models",
		Long: `Manages the catalogue, straight in the database: no API key is needed, and a
server may run beside it.`,
	}
	addSettings(cmd.PersistentFlags(), "Storage", "Telemetry")
	cmd.AddCommand(c.importPrices())
	return cmd
}

func (c *cli) importPrices() *cobra.Command {
	overwrite, dryRun := false, false
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Take over prices from LiteLLM's catalogue",
		Long: `Takes over prices from a file like LiteLLM's model_prices_and_context_window.json.
Prices that an admin has set stay above them.`,
		Args: cobra.ExactArgs(1),
		RunE: c.action(func(cmd *cobra.Command, args []string) error {
			catalogue, err := os.ReadFile(args[0])
			if err != nil {
				return fmt.Errorf("read the catalogue: %w", err)
			}
			return c.operate(cmd, func(ctx context.Context, o *app.Operator) error {
				done, err := o.ImportPrices(ctx, models.ImportModelPricesInput{Catalogue: catalogue, Overwrite: &overwrite, DryRun: &dryRun})
				if err != nil {
					return err
				}
				rows := make([][]string, 0, len(done.Skipped)+1)
				for _, s := range done.Skipped {
					rows = append(rows, []string{s.Model, s.Reason})
				}
				rows = append(rows, []string{fmt.Sprintf("%d imported", done.Imported), ""})
				return show(cmd, map[string]any{"imported": done.Imported, "skipped": done.Skipped}, []string{"SKIPPED", "WHY"}, rows)
			})
		}),
	}
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "Replace other prices that were imported before")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "Only say what would be done")
	addJSON(cmd)
	return cmd
}
