package main

import (
	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/cmd/rundlet/disk"
	"github.com/rundlet/rundlet/cmd/rundlet/events"
	"github.com/rundlet/rundlet/cmd/rundlet/images"
	"github.com/rundlet/rundlet/cmd/rundlet/kernels"
	"github.com/rundlet/rundlet/cmd/rundlet/remote"
	"github.com/rundlet/rundlet/cmd/rundlet/templates"
	"github.com/rundlet/rundlet/layout"
)

func newRoot() *cobra.Command {
	o := &command.Options{}
	root := &cobra.Command{
		Use:   "rundlet",
		Short: "Sandboxes for AI agents on machines you own",
		Long: `Rundlet runs sandboxes for AI agents on machines you own, with the E2B API.

Start with "rundlet doctor" to check this host, "rundlet run" to run one command in
a sandbox, or "rundlet serve" to start a server for the E2B SDKs.`,
		SilenceUsage: true, SilenceErrors: true, PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return o.EnterNode(cmd) },
	}
	f := root.PersistentFlags()
	f.StringVar(&o.Dirs.StateDir, "state-dir", "", "durable state (default $"+layout.EnvStateDir+" or ~/.rundlet/state)")
	f.StringVar(&o.Dirs.CacheDir, "cache-dir", "", "cache that may be deleted at any time (default $"+layout.EnvCacheDir+" or ~/.rundlet/cache)")
	f.StringVar(&o.Dirs.RunDir, "run-dir", "", "runtime files that do not survive a reboot (default $"+layout.EnvRunDir+" or /run/rundlet or, without root, $XDG_RUNTIME_DIR/rundlet)")
	f.BoolVar(&o.JSON, "json", false, "print JSON")
	root.AddCommand(newServe(o), newEnv(o), newTLS(o), newRun(o), remote.Sandbox(o), remote.Snapshot(o), events.Command(o), templates.Template(o), newKeys(o), newBackup(o), newRestore(o), newOrphan(o), newDoctor(o), newBench(o), newSimulate(o), newVersion(o))
	root.AddCommand(append(append(images.Commands(o), disk.Commands(o)...), kernels.Commands(o)...)...)
	return root
}
