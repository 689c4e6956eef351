package claim

import (
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// here compares the node and the driver of a row with those of this daemon. A row of
// which either is not known is of this one: see store.Store.FillOwner.
func here(node, driver, ourNode, ourDriver string) error {
	if node != "" && node != ourNode {
		return &sandbox.ElsewhereError{What: "node", Theirs: node, Ours: ourNode}
	}
	if driver != "" && driver != ourDriver {
		return &sandbox.ElsewhereError{What: "driver", Theirs: driver, Ours: ourDriver}
	}
	return nil
}

// Here returns a *sandbox.ElsewhereError if a claim is on a snapshot of another node or
// driver.
func (c *Claims) Here(n store.Snapshot) error {
	return here(n.Node, n.Driver, c.cfg.Node, c.cfg.Driver.Info().Driver)
}

// SandboxHere returns a *sandbox.ElsewhereError if a sandbox is of another node or driver.
func (c *Claims) SandboxHere(row store.Sandbox) error {
	return here(row.Node, row.Driver, c.cfg.Node, c.cfg.Driver.Info().Driver)
}
