// Package templates has the commands of templates: build, list, show, tag and remove them on a running daemon, on this host or
// another; and push and pull those in the state directory of this host.
//
// It may import client and the packages below it, sandbox, node/move and cmd/rundlet/command; only cmd/rundlet imports it.
package templates

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
)

// Template is the command "template".
func Template(o *command.Options) *cobra.Command {
	cmd := &cobra.Command{Use: "template", Aliases: []string{"tpl"}, Short: "Build, manage, push and pull templates"}
	cmd.AddCommand(newBuild(o), newLs(o), newInspect(o), newHistory(o), newLogs(o), newTag(o), newWarm(o), newRm(o))
	cmd.AddCommand(moves(o)...)
	return cmd
}

// oneLine is printable text in one line.
func oneLine(text string) string { return strings.ReplaceAll(command.Printable(text), "\n", " ") }
