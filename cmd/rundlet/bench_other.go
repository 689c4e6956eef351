//go:build !linux

package main

import (
	"context"
	"errors"
	"time"

	"github.com/rundlet/rundlet/bench"
	"github.com/rundlet/rundlet/bench/report"
	"github.com/rundlet/rundlet/node"
)

var errNoDriver = errors.New("this build has no driver that can run sandboxes on this system yet; Linux has one")

func mechanism(context.Context, *node.Node) (bench.Mechanism, error) { return nil, errNoDriver }

func hostStamp(*node.Node) report.Host { return report.Host{} }

func loadAverage() string { return "" }

func memoryFree() int { return 0 }

// procUsage has no counterpart here yet.
type procUsage struct{}

func (procUsage) PSS([]int) (float64, error) { return 0, errNoDriver }

func (procUsage) CPU([]int) (time.Duration, error) { return 0, errNoDriver }

func (procUsage) Self() (time.Duration, float64, error) { return 0, 0, errNoDriver }
