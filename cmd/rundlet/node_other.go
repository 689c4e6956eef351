//go:build !linux

package main

import (
	"context"
	"errors"

	"github.com/rundlet/rundlet/doctor"
	"github.com/rundlet/rundlet/layout"
)

func dispatch() bool { return false }

var errNoDriver = errors.New("this build has no driver that can run sandboxes on this system yet; Linux has one")

func openNode(context.Context, layout.Layout, nodeOptions) (*node, error) { return nil, errNoDriver }

func doctorChecks(layout.Layout) []doctor.CheckFunc { return nil }
