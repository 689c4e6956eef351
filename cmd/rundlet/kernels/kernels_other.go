//go:build !linux

package kernels

import (
	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
)

// Commands are none: sandboxes run on Linux.
func Commands(*command.Options) []*cobra.Command { return nil }
