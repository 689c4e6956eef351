package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/doctor"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node/rootless"
	"github.com/rundlet/rundlet/vm"
)

// OnNode are the commands that need a node's host or its files. An ordinary user has them in the namespaces of their node; all others
// are clients of the API or read files of the user.
var OnNode = []string{
	"rundlet serve", "rundlet run", "rundlet doctor", "rundlet bench", "rundlet orphan ls", "rundlet orphan rm", "rundlet df", "rundlet prune",
	"rundlet image load", "rundlet image pull", "rundlet image ls", "rundlet image rm", "rundlet template push", "rundlet template pull",
}

// EnterNode replaces this process by one in the namespaces of the user's node, if the command needs them and does not run as root.
func (o *Options) EnterNode(cmd *cobra.Command) error {
	if !rootless.Needed() || !slices.Contains(OnNode, cmd.CommandPath()) {
		return nil
	}
	dirs, err := layout.Resolve(o.Dirs, os.Getenv)
	if err == nil {
		err = dirs.Make(slog.Default()) // Who owns what can be seen only here.
	}
	if err == nil {
		err = rootless.Enter(cmd.Context(), rootless.Config{RunDir: dirs.RunDir, Args: os.Args, Env: append(os.Environ(), layout.EnvRunDir+"="+dirs.RunDir)})
	}
	if cmd.CommandPath() == "rundlet doctor" { // It reports that, too.
		o.notEntered = err
		return nil
	}
	if err != nil {
		return fmt.Errorf("run it without root: %w", err)
	}
	return nil
}

// NodeChecks are the findings of doctor about a user that has no node: none if it has one.
func (o *Options) NodeChecks() []doctor.CheckFunc {
	err := o.notEntered
	if err == nil {
		return nil
	}
	return []doctor.CheckFunc{func(context.Context) []doctor.Finding {
		f := doctor.Finding{Name: "without root", Status: doctor.Fail, Detail: err.Error(), Hint: "run it with sudo"}
		var hinted *vm.Error
		if errors.As(err, &hinted) && hinted.Hint != "" {
			f.Hint = hinted.Hint
		}
		return []doctor.Finding{f}
	}}
}
