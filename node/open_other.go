//go:build !linux

package node

import (
	"context"
	"fmt"

	"github.com/rundlet/rundlet/doctor"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/vm"
)

func open(context.Context, vm.Driver, Config) (*Node, error) {
	return nil, fmt.Errorf("open node: %w", vm.ErrUnsupported)
}

// Checks returns none: no driver runs on this system yet.
func Checks(layout.Layout) []doctor.CheckFunc { return nil }
