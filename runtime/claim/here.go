package claim

import (
	"fmt"

	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// ElsewhereError is the vm.ErrIncompatible of a sandbox or a snapshot that another
// driver made, or that is on another node. It is kept as it is: whatever is missing of
// it here says nothing about it.
type ElsewhereError struct {
	// What is the difference, "driver" or "node"; Theirs is the value in the row, and
	// Ours that of this daemon.
	What, Theirs, Ours string
}

func (e *ElsewhereError) Error() string {
	if e.What == "driver" {
		return fmt.Sprintf("it was made by driver %.40q and this daemon runs driver %.40q; it is kept: start rundlet serve with --driver %.40s to use it",
			e.Theirs, e.Ours, e.Theirs)
	}
	return fmt.Sprintf("it is on node %.40q and this is node %.40q; it is kept", e.Theirs, e.Ours)
}

// Unwrap makes it a vm.ErrIncompatible.
func (e *ElsewhereError) Unwrap() error { return vm.ErrIncompatible }

// here compares the node and the driver of a row with those of this daemon. A row of
// which either is not known is of this one: see store.Store.FillOwner.
func here(node, driver, ourNode, ourDriver string) error {
	if node != "" && node != ourNode {
		return &ElsewhereError{"node", node, ourNode}
	}
	if driver != "" && driver != ourDriver {
		return &ElsewhereError{"driver", driver, ourDriver}
	}
	return nil
}

// Here returns an *ElsewhereError if a claim is on a snapshot of another node or
// driver.
func (c *Claims) Here(n store.Snapshot) error {
	return here(n.Node, n.Driver, c.cfg.Node, c.cfg.Driver.Info().Driver)
}

// SandboxHere returns an *ElsewhereError if a sandbox is of another node or driver.
func (c *Claims) SandboxHere(row store.Sandbox) error {
	return here(row.Node, row.Driver, c.cfg.Node, c.cfg.Driver.Info().Driver)
}
