package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
)

// Sandbox is the command "sandbox".
func Sandbox(o *command.Options) *cobra.Command {
	cmd := &cobra.Command{Use: "sandbox", Aliases: []string{"sb"}, Short: "Manage the sandboxes of a running server"}
	cmd.AddCommand(newSandboxLs(o), newSandboxExec(o), newSandboxPause(o), newSandboxResume(o), newSandboxFork(o),
		newSandboxSnapshot(o), newSandboxNetwork(o), newSandboxFreshness(o), newSandboxPortForward(o), newSandboxKill(o))
	return cmd
}

func newSandboxLs(o *command.Options) *cobra.Command {
	var killed bool
	cmd := &cobra.Command{
		Use: "ls", Short: "List the sandboxes", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if killed {
				return listKilled(cmd, o)
			}
			api, err := o.API()
			if err != nil {
				return err
			}
			list, err := api.List(cmd.Context())
			if err != nil {
				return command.Unreachable(api, err)
			}
			if o.JSON {
				return command.PrintJSON(cmd.OutOrStdout(), list)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tTEMPLATE\tSTATE\tCPUS\tMEMORY\tSTARTED\tENDS IN")
			for _, sb := range list {
				name := sb.Alias
				if name == "" {
					name = sb.TemplateID
				}
				ends := "-" // A paused sandbox has no timeout.
				if sb.State != "paused" {
					ends = time.Until(sb.EndAt).Round(time.Second).String()
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d MiB\t%s\t%s\n", sb.ID, name, sb.State, sb.VCPUs, sb.MemoryMiB,
					sb.StartedAt.Local().Format(time.DateTime), ends)
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&killed, "killed", false, "list killed sandboxes of this host, with the reason")
	return cmd
}

// maxKilled limits the killed sandboxes that are listed; the newest come first.
const maxKilled = 1000

// listKilled reads this host's database, since the API does not return killed
// sandboxes.
func listKilled(cmd *cobra.Command, o *command.Options) error {
	dirs, err := o.Layout()
	if err != nil {
		return err
	}
	db, err := command.OpenToRead(cmd.Context(), dirs)
	if err != nil {
		return err
	}
	defer db.Close()
	rows, err := db.Sandboxes.Killed(cmd.Context(), maxKilled)
	if err != nil {
		return err
	}
	type ended struct {
		ID        string          `json:"id"`
		Template  string          `json:"template"`
		Reason    string          `json:"reason"`
		StartedAt time.Time       `json:"started_at,omitzero"`
		KilledAt  time.Time       `json:"killed_at"`
		MemoryMiB int             `json:"memory_mib"`
		Node      string          `json:"node,omitempty"`
		Driver    string          `json:"driver,omitempty"`
		Owner     string          `json:"key_id,omitempty"`
		Request   json.RawMessage `json:"request,omitempty"`
	}
	list := make([]ended, len(rows))
	for i, row := range rows {
		list[i] = ended{row.ID, row.Alias, row.Reason, row.StartedAt, row.KilledAt, row.MemoryMiB,
			row.Node, row.Driver, row.KeyID, json.RawMessage(row.Request)}
	}
	if o.JSON {
		return command.PrintJSON(cmd.OutOrStdout(), list)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tTEMPLATE\tENDED\tREASON")
	for _, e := range list {
		if e.Reason == "oom" {
			e.Reason = fmt.Sprintf("oom (out of memory: it had %d MiB)", e.MemoryMiB)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", e.ID, e.Template, e.KilledAt.Local().Format(time.DateTime), e.Reason)
	}
	return w.Flush()
}

func newSandboxKill(o *command.Options) *cobra.Command {
	return &cobra.Command{
		Use: "kill ID...", Short: "Kill sandboxes", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, ids []string) error {
			api, err := o.API()
			if err != nil {
				return err
			}
			var errs []error
			for _, id := range ids {
				if err := api.Kill(cmd.Context(), id); err != nil {
					errs = append(errs, fmt.Errorf("kill %s: %w", id, command.Unreachable(api, err)))
				}
			}
			return errors.Join(errs...)
		},
	}
}

func newSandboxExec(o *command.Options) *cobra.Command {
	var ef command.ExecFlags
	cmd := &cobra.Command{
		Use: "exec [flags] ID -- COMMAND [ARG...]", Short: "Run a command in a running sandbox", Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := o.API()
			if err != nil {
				return err
			}
			env, err := ef.Environment()
			if err != nil {
				return err
			}
			sb, err := api.Get(cmd.Context(), args[0])
			if err != nil {
				return command.Unreachable(api, err)
			}
			words := args[1:]
			if words[0] == "--" && len(words) > 1 {
				words = words[1:]
			}
			return command.Execute(cmd, api.Agent(sb), ef, env, words)
		},
	}
	ef.Add(cmd)
	return cmd
}
