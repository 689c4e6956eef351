//go:build linux

// Package sentry is what a process of a sandbox does beside gVisor's own code: it sets
// itself up as the driver wants it, changes what gVisor does otherwise than Linux, and
// then is gVisor's sentry or its file server.
//
// It may import gVisor, vm, the packages below it, and launch, budget and cgroups, which
// the driver shares with it. Only the program of sandboxes and tests import it; the driver
// does not.
package sentry

import (
	"os"
	"path/filepath"
	"strings"

	"gvisor.dev/gvisor/runsc/cli"
	"gvisor.dev/gvisor/runsc/cmd"
	"gvisor.dev/gvisor/runsc/cmd/sentry/sentrycmd"
	"gvisor.dev/gvisor/runsc/cmd/util"

	"github.com/rundlet/rundlet/vm/gvisor/launch"
	"github.com/rundlet/rundlet/vm/gvisor/sentry/afterload"
	"github.com/rundlet/rundlet/vm/gvisor/sentry/filters"
	"github.com/rundlet/rundlet/vm/gvisor/sentry/likelinux"
)

// Started reports whether this process was started as a part of a sandbox, by argv[0]
// only: the sandbox process starts with an empty environment, and an environment can be
// set by anybody.
func Started() bool {
	return strings.HasPrefix(filepath.Base(os.Args[0]), "runsc") || os.Args[0] == "/proc/self/exe"
}

// Main is the whole of a process of a sandbox, and does not return. It must be the first
// thing that the process does.
func Main() {
	if command, bundle := launch.Command(os.Args); bundle != "" {
		if err := setUp(command, bundle); err != nil {
			// Standard error is /dev/null here; the creator reads this file.
			_ = os.WriteFile(filepath.Join(bundle, launch.ErrorFileName), []byte(err.Error()), 0o600)
			os.Exit(128)
		}
	}
	shortenTimeWait()
	likelinux.Install()
	afterload.Install()
	filters.Install()
	cli.Run(nil, map[util.SubCommand]string{
		new(sentrycmd.Boot): "", new(cmd.Gofer): "", new(sentrycmd.Umount): "",
		new(cmd.Exec): "", // For Driver.ExecCommand.
	}, nil)
}
