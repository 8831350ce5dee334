package main

import (
	"context"

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
	cmd.AddCommand(c.createUser(), c.updateUser(), c.users())
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
		Long: `Makes an account. It has no API key yet: make one with 'coai keys create'.

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
	cmd := &cobra.Command{
		Use:   "update-user EMAIL --groups GROUPS",
		Short: "Change an account",
		Example: `  coai admin update-user ada@example.com --groups research,legal
  coai admin update-user ada@example.com --groups ''`,
		Args: cobra.ExactArgs(1),
		RunE: c.action(func(cmd *cobra.Command, args []string) error {
			return c.operate(cmd, func(ctx context.Context, o *app.Operator) error {
				u, err := o.UpdateUser(ctx, args[0], models.UpdateUserInput{Groups: models.OmittableOf(groups)})
				if err != nil {
					return err
				}
				return showUsers(cmd, userView{u, stamp(&u.CreatedAt)}, []*models.User{u})
			})
		}),
	}
	cmd.Flags().StringSliceVar(&groups, "groups", nil, "Groups, comma-separated; replaces all")
	_ = cmd.MarkFlagRequired("groups") // as above
	addJSON(cmd)
	return cmd
}

func (c *cli) users() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "users",
		Short: "List the accounts",
		Args:  cobra.NoArgs,
		RunE: c.action(func(cmd *cobra.Command, _ []string) error {
			return c.operate(cmd, func(ctx context.Context, o *app.Operator) error {
				users, err := o.Users(ctx)
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
	addJSON(cmd)
	return cmd
}
