package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/layout"
)

// options are the flags that every subcommand has.
type options struct {
	dirs layout.Layout
	json bool
}

// layout resolves the directories and creates them.
func (o *options) layout() (layout.Layout, error) { return o.layoutLogging(slog.Default()) }

// layoutLogging is layout with another log for warnings.
func (o *options) layoutLogging(log *slog.Logger) (layout.Layout, error) {
	l, err := layout.Resolve(o.dirs, os.Getenv)
	if err != nil {
		return l, err
	}
	return l, l.Make(log)
}

func newRoot() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:   "rundlet",
		Short: "Sandboxes for AI agents on machines you own",
		Long: `Rundlet runs sandboxes for AI agents on machines you own, with the E2B API.

Start with "rundlet doctor" to check this host, "rundlet run" to run one command in
a sandbox, or "rundlet serve" to start a server for the E2B SDKs.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	f := root.PersistentFlags()
	f.StringVar(&o.dirs.StateDir, "state-dir", "", "durable state (default $"+layout.EnvStateDir+" or ~/.rundlet/state)")
	f.StringVar(&o.dirs.CacheDir, "cache-dir", "", "cache that may be deleted at any time (default $"+layout.EnvCacheDir+" or ~/.rundlet/cache)")
	f.StringVar(&o.dirs.RunDir, "run-dir", "", "runtime files that do not survive a reboot (default $"+layout.EnvRunDir+" or /run/rundlet)")
	f.BoolVar(&o.json, "json", false, "print JSON")
	root.AddCommand(newServe(o), newEnv(o), newRun(o), newSandbox(o), newSnapshot(o), newKeys(o), newBackup(o), newRestore(o), newOrphan(o), newDoctor(o), newBench(o), newSimulate(o), newVersion(o))
	return root
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
