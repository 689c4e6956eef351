package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/e2b"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node/keys"
	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/store"
)

func newKeys(o *command.Options) *cobra.Command {
	cmd := &cobra.Command{Use: "keys", Short: "Create, list and remove API keys"}
	var name string
	create := &cobra.Command{
		Use: "create", Short: "Create an API key and print it (it cannot be shown again)", Args: cobra.NoArgs,
		RunE: withKeys(o, statedir.OpenToChange, func(cmd *cobra.Command, known keys.Store, _ []string) error {
			key, text, err := known.Create(cmd.Context(), name)
			if err != nil {
				return err
			}
			if o.JSON {
				return command.PrintJSON(cmd.OutOrStdout(), map[string]string{"id": key.ID, "name": key.Name, "key": text})
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
			return err
		}),
	}
	create.Flags().StringVar(&name, "name", "", "name of the key")
	cmd.AddCommand(create,
		&cobra.Command{
			Use: "ls", Short: "List the API keys", Args: cobra.NoArgs,
			RunE: withKeys(o, command.OpenToRead, func(cmd *cobra.Command, known keys.Store, _ []string) error {
				list, err := known.List(cmd.Context())
				if err != nil {
					return err
				}
				if o.JSON {
					return command.PrintJSON(cmd.OutOrStdout(), keyLines(list))
				}
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				fmt.Fprintln(w, "ID\tNAME\tKEY\tCREATED")
				for _, k := range list {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.ID, k.Name, k.Mask, k.CreatedAt.Format(time.RFC3339))
				}
				return w.Flush()
			}),
		},
		&cobra.Command{
			Use: "rm ID", Short: "Remove an API key; requests with it are refused from then on", Args: cobra.ExactArgs(1),
			RunE: withKeys(o, statedir.OpenToChange, func(cmd *cobra.Command, known keys.Store, args []string) error {
				if err := known.Remove(cmd.Context(), args[0]); err != nil {
					return fmt.Errorf("remove key %q: %w", args[0], err)
				}
				return nil
			}),
		})
	return cmd
}

// keyLine is the JSON form of a key.
type keyLine struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Mask      string    `json:"mask"`
	CreatedAt time.Time `json:"created_at"`
}

func keyLines(list []e2b.Key) []keyLine {
	out := make([]keyLine, len(list))
	for i, k := range list {
		out[i] = keyLine(k)
	}
	return out
}

type opener func(context.Context, layout.Layout) (*store.Store, error)

func withKeys(o *command.Options, open opener, f func(*cobra.Command, keys.Store, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		dirs, err := o.Layout()
		if err != nil {
			return err
		}
		db, err := open(cmd.Context(), dirs)
		if err != nil {
			return err
		}
		defer db.Close()
		return f(cmd, keys.New(db), args)
	}
}
