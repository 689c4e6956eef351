//go:build !linux

package templates

import (
	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
)

// moves are none: the templates of a node are on Linux.
func moves(*command.Options) []*cobra.Command { return nil }
