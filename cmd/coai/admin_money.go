package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coaidev/coai/internal/app"
	"github.com/coaidev/coai/models"
)

type budgetView struct {
	Period   models.Period `json:"period"`
	Limit    models.Money  `json:"limit"`
	Spent    models.Money  `json:"spent"`
	Held     models.Money  `json:"held"`
	ResetsAt *string       `json:"resets_at"`
}

func (c *cli) userBudgets() *cobra.Command {
	var daily, monthly, total string
	cmd := &cobra.Command{
		Use:   "budgets EMAIL",
		Short: "Show or change what an account may spend",
		Long: `Shows what an account may spend with all its keys together, in US dollars, and
changes what the flags name first. 'none' takes a budget away.`,
		Example: `  coai admin budgets ada@example.com
  coai admin budgets ada@example.com --monthly 50 --daily none`,
		Args: cobra.ExactArgs(1),
		RunE: c.action(func(cmd *cobra.Command, args []string) error {
			var in models.BudgetsInput
			for flag, to := range map[string]struct {
				text  string
				field *models.Omittable[*models.Nanos]
			}{"daily": {daily, &in.Daily}, "monthly": {monthly, &in.Monthly}, "total": {total, &in.Total}} {
				if !cmd.Flags().Changed(flag) {
					continue
				}
				if to.text == "none" {
					*to.field = models.OmittableOf[*models.Nanos](nil)
					continue
				}
				n, err := models.ParseNanos(to.text)
				if err != nil {
					return wrongUsage("--%s %q is neither an amount of US dollars such as 12.50 nor none", flag, to.text)
				}
				*to.field = models.OmittableOf(&n)
			}
			return c.operate(cmd, func(ctx context.Context, o *app.Operator) error {
				budgets, balance, err := o.Budgets(ctx, args[0], in)
				if err != nil {
					return err
				}
				return showBudgets(cmd, budgets, balance)
			})
		}),
	}
	f := cmd.Flags()
	f.StringVar(&daily, "daily", "", "US dollars for a day of UTC, or none")
	f.StringVar(&monthly, "monthly", "", "US dollars for a month of UTC, or none")
	f.StringVar(&total, "total", "", "US dollars for good, or none")
	addJSON(cmd)
	return cmd
}

func showBudgets(cmd *cobra.Command, budgets []*models.Budget, balance *models.Money) error {
	views := make([]budgetView, len(budgets))
	var rows [][]string
	for i, b := range budgets {
		v := budgetView{b.Period, b.LimitMoney(), b.SpentMoney(), b.HeldMoney(), stamp(b.ResetsAt())}
		views[i] = v
		rows = append(rows, []string{string(b.Period), dollars(v.Limit), dollars(v.Spent), dollars(v.Held), orDash(v.ResetsAt)})
	}
	if balance != nil {
		rows = append(rows, []string{"balance", dollars(*balance), "-", "-", "-"})
	}
	view := struct {
		Budgets []budgetView  `json:"budgets"`
		Balance *models.Money `json:"balance"` // null: not prepaid
	}{views, balance}
	return show(cmd, view, []string{"PERIOD", "LIMIT", "SPENT", "HELD", "RESETS"}, rows)
}

func dollars(m models.Money) string { return "$" + m.Amount.String() }

type entryView struct {
	*models.BalanceEntry
	Amount    models.Money `json:"amount"`
	Balance   models.Money `json:"balance"`
	CreatedAt *string      `json:"created_at"`
}

func (c *cli) userBalance() *cobra.Command {
	var add, note string
	cmd := &cobra.Command{
		Use:   "balance EMAIL",
		Short: "Show or change the prepaid credit of an account",
		Long: `Shows the latest changes of an account's prepaid credit, the newest first, and
makes one first if --add names US dollars; negative ones are taken. The first
change makes an account prepaid.`,
		Example: `  coai admin balance ada@example.com
  coai admin balance ada@example.com --add 25 --note 'invoice 17'
  coai admin balance ada@example.com --add=-5`,
		Args: cobra.ExactArgs(1),
		RunE: c.action(func(cmd *cobra.Command, args []string) error {
			var in models.AdjustBalanceInput
			if cmd.Flags().Changed("add") {
				n, err := models.ParseNanos(strings.TrimPrefix(add, "+"))
				if err != nil || n == 0 {
					return wrongUsage("--add %q is no amount of US dollars such as 12.50 or -5", add)
				}
				in = models.AdjustBalanceInput{Amount: n, Note: &note}
			}
			return c.operate(cmd, func(ctx context.Context, o *app.Operator) error {
				if in.Amount != 0 {
					if _, err := o.AdjustBalance(ctx, args[0], in); err != nil {
						return err
					}
				}
				list, err := o.BalanceEntries(ctx, args[0], models.DefaultPageSize)
				if err != nil {
					return err
				}
				views := make([]entryView, len(list))
				rows := make([][]string, len(list))
				for i, e := range list {
					views[i] = entryView{e, e.AmountMoney(), e.BalanceMoney(), stamp(&e.CreatedAt)}
					rows[i] = []string{orDash(views[i].CreatedAt), dollars(views[i].Amount), dollars(views[i].Balance), e.ActorID, orDash(&e.Note)}
				}
				return show(cmd, views, []string{"WHEN", "AMOUNT", "BALANCE", "BY", "NOTE"}, rows)
			})
		}),
	}
	cmd.Flags().StringVar(&add, "add", "", "US dollars to add; negative to take")
	cmd.Flags().StringVar(&note, "note", "", "Why, at most 500 characters")
	addJSON(cmd)
	return cmd
}
