package main

import (
	"bufio"
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coaidev/coai/internal/app"
	"github.com/coaidev/coai/models"
)

func (c *cli) suspendUser() *cobra.Command {
	return c.setStatus("suspend", models.UserSuspended, "Refuse an account's keys and sessions",
		`Suspends an account: its keys, its sessions and signing in are refused, within a
second in servers that run. Nothing is deleted; 'coai admin unsuspend' takes it
back. The last active admin cannot be suspended.`)
}

func (c *cli) unsuspendUser() *cobra.Command {
	return c.setStatus("unsuspend", models.UserActive, "Let an account be used again", "Takes 'coai admin suspend' back.")
}

func (c *cli) setStatus(name string, status models.UserStatus, short, long string) *cobra.Command {
	cmd := &cobra.Command{
		Use: name + " EMAIL", Short: short, Long: long,
		Example: "  coai admin " + name + " ada@example.com",
		Args:    cobra.ExactArgs(1),
		RunE: c.action(func(cmd *cobra.Command, args []string) error {
			return c.changeUser(cmd, args[0], models.UpdateUserInput{Status: models.OmittableOf(&status)})
		}),
	}
	addJSON(cmd)
	return cmd
}

func (c *cli) deleteUser() *cobra.Command {
	return &cobra.Command{
		Use:   "delete-user EMAIL",
		Short: "Delete an account for good",
		Long: `Deletes an account for good: its keys and sessions count no more, and its
address, name, picture, preferences and password are erased. Records of usage and
of its balance stay, under its id. The last active admin cannot be deleted.`,
		Example: `  coai admin delete-user ada@example.com`,
		Args:    cobra.ExactArgs(1),
		RunE: c.action(func(cmd *cobra.Command, args []string) error {
			return c.operate(cmd, func(ctx context.Context, o *app.Operator) error {
				id, err := o.DeleteUser(ctx, args[0])
				if err != nil {
					return err
				}
				cmd.Printf("%s is deleted.\n", id)
				return nil
			})
		}),
	}
}

func (c *cli) resetPassword() *cobra.Command {
	var stdin bool
	cmd := &cobra.Command{
		Use:   "reset-password EMAIL",
		Short: "Give an account a new password",
		Long: `Gives an account a new password and ends all its sessions. The password is made
up and printed once, or read from a line of the standard input; only its hash is
kept.`,
		Example: `  coai admin reset-password ada@example.com
  coai admin reset-password ada@example.com --stdin < password.txt`,
		Args: cobra.ExactArgs(1),
		RunE: c.action(func(cmd *cobra.Command, args []string) error {
			password := ""
			if stdin {
				lines := bufio.NewScanner(c.in)
				if lines.Scan() {
					password = strings.TrimSuffix(lines.Text(), "\r")
				}
				if password == "" {
					return wrongUsage("the standard input holds no password")
				}
			}
			return c.operate(cmd, func(ctx context.Context, o *app.Operator) error {
				set, err := o.ResetPassword(ctx, args[0], password)
				if err != nil {
					return err
				}
				if stdin {
					cmd.Printf("The password of %s is set.\n", args[0])
					return nil
				}
				cmd.Printf("The password of %s is shown only now:\n%s\n", args[0], set)
				return nil
			})
		}),
	}
	cmd.Flags().BoolVar(&stdin, "stdin", false, "Read the password from the standard input")
	return cmd
}
