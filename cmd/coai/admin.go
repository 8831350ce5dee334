package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/coaidev/coai/internal/app"
	"github.com/coaidev/coai/models"
)

func (c *cli) admin() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "admin",
		Short: "Manage accounts",
		Long: `Manages accounts, straight in the database: no API key is needed, and a server
may run beside it.`,
	}
	addSettings(cmd.PersistentFlags(), "Storage", "Telemetry")
	cmd.AddCommand(c.createUser(), c.updateUser(), c.users(), c.suspendUser(), c.unsuspendUser(), c.deleteUser(),
		c.resetPassword(), c.userBudgets(), c.userBalance())
	return cmd
}

type userView struct {
	*models.User
	CreatedAt *string `json:"created_at"`
}

func showUsers(cmd *cobra.Command, v any, users []*models.User) error {
	rows := make([][]string, len(users))
	for i, u := range users {
		rows[i] = []string{u.ID, u.Email, orDash(&u.Name), string(u.Role), string(u.Tier), string(u.Status), joined(u.Groups, "-"), orDash(stamp(&u.CreatedAt))}
	}
	return show(cmd, v, []string{"ID", "EMAIL", "NAME", "ROLE", "TIER", "STATUS", "GROUPS", "CREATED"}, rows)
}

func (c *cli) createUser() *cobra.Command {
	var in models.CreateUserInput
	cmd := &cobra.Command{
		Use:   "create-user --email EMAIL",
		Short: "Make an account",
		Long: `Makes an account. It has no API key and no password yet: make a key with 'coai
keys create', or a password with 'coai admin reset-password'.

The tier decides the rate limits: free, pro or enterprise.`,
		Example: `  coai admin create-user --email ada@example.com --name 'Ada Lovelace' --tier pro
  coai admin create-user --email ops@example.com --role admin`,
		Args: cobra.NoArgs,
		RunE: c.action(func(cmd *cobra.Command, _ []string) error {
			return c.operate(cmd, func(ctx context.Context, o *app.Operator) error {
				u, err := o.CreateUser(ctx, in)
				if err != nil {
					return err
				}
				return showUsers(cmd, userView{u, stamp(&u.CreatedAt)}, []*models.User{u})
			})
		}),
	}
	cmd.Flags().StringVar(&in.Email, "email", "", "E-mail address; names the account")
	cmd.Flags().StringVar(&in.Name, "name", "", "Name for people")
	cmd.Flags().StringVar((*string)(&in.Role), "role", string(models.RoleUser), "user or admin")
	cmd.Flags().StringVar((*string)(&in.Tier), "tier", string(models.TierFree), "free, pro or enterprise")
	cmd.Flags().StringSliceVar(&in.Groups, "groups", nil, "Groups, comma-separated; they open channels that are for one of them alone")
	_ = cmd.MarkFlagRequired("email") // fails only for a flag that does not exist
	addJSON(cmd)
	return cmd
}

func (c *cli) updateUser() *cobra.Command {
	var groups []string
	var email, name, role, tier string
	cmd := &cobra.Command{
		Use:   "update-user EMAIL",
		Short: "Change an account",
		Long: `Changes what the flags name, and leaves the rest as it is. A new e-mail address
counts as verified. The last active admin stays one.`,
		Example: `  coai admin update-user ada@example.com --groups research,legal
  coai admin update-user ada@example.com --groups ''
  coai admin update-user ada@example.com --role admin --tier enterprise`,
		Args: cobra.ExactArgs(1),
		RunE: c.action(func(cmd *cobra.Command, args []string) error {
			var in models.UpdateUserInput
			given := cmd.Flags().Changed
			if given("groups") {
				in.Groups = models.OmittableOf(groups)
			}
			if given("email") {
				in.Email = models.OmittableOf(&email)
			}
			if given("name") {
				in.Name = models.OmittableOf(&name)
			}
			if given("role") {
				in.Role = models.OmittableOf((*models.Role)(&role))
			}
			if given("tier") {
				in.Tier = models.OmittableOf((*models.Tier)(&tier))
			}
			if !slices.ContainsFunc([]string{"email", "name", "role", "tier", "groups"}, given) {
				return wrongUsage("nothing to change: give at least one of --email, --name, --role, --tier, --groups")
			}
			return c.changeUser(cmd, args[0], in)
		}),
	}
	f := cmd.Flags()
	f.StringSliceVar(&groups, "groups", nil, "Groups, comma-separated; replaces all")
	f.StringVar(&email, "email", "", "Another e-mail address")
	f.StringVar(&name, "name", "", "Name for people")
	f.StringVar(&role, "role", "", "user or admin")
	f.StringVar(&tier, "tier", "", "free, pro or enterprise")
	addJSON(cmd)
	return cmd
}

func (c *cli) changeUser(cmd *cobra.Command, email string, in models.UpdateUserInput) error {
	return c.operate(cmd, func(ctx context.Context, o *app.Operator) error {
		u, err := o.UpdateUser(ctx, email, in)
		if err != nil {
			return err
		}
		return showUsers(cmd, userView{u, stamp(&u.CreatedAt)}, []*models.User{u})
	})
}

func (c *cli) users() *cobra.Command {
	var q, role, tier, status string
	cmd := &cobra.Command{
		Use:   "users",
		Short: "List the accounts",
		Example: `  coai admin users
  coai admin users --q example.com --status suspended`,
		Args: cobra.NoArgs,
		RunE: c.action(func(cmd *cobra.Command, _ []string) error {
			var filter models.UserFilter
			if q != "" {
				filter.Q = &q
			}
			if role != "" {
				filter.Role = (*models.Role)(&role)
			}
			if tier != "" {
				filter.Tier = (*models.Tier)(&tier)
			}
			if status != "" {
				filter.Status = (*models.UserStatus)(&status)
			}
			return c.operate(cmd, func(ctx context.Context, o *app.Operator) error {
				users, err := o.Users(ctx, filter)
				if err != nil {
					return err
				}
				views := make([]userView, len(users))
				for i, u := range users {
					views[i] = userView{u, stamp(&u.CreatedAt)}
				}
				return showUsers(cmd, views, users)
			})
		}),
	}
	f := cmd.Flags()
	f.StringVar(&q, "q", "", "Only those with this in the e-mail address or the name")
	f.StringVar(&role, "role", "", "Only users, or only admins: user or admin")
	f.StringVar(&tier, "tier", "", "Only those of a tier: free, pro or enterprise")
	f.StringVar(&status, "status", "", "Only active, or only suspended ones")
	addJSON(cmd)
	return cmd
}
