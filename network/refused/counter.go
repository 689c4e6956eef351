package refused

import "sync/atomic"

// Counter counts what all slots were refused. Safe for concurrent use.
type Counter struct {
	n    atomic.Uint64
	more chan struct{}
}

// NewCounter returns one that has counted nothing.
func NewCounter() *Counter { return &Counter{more: make(chan struct{}, 1)} }

// Add counts one that a list has already.
func (c *Counter) Add() {
	c.n.Add(1)
	select {
	case c.more <- struct{}{}:
	default: // It is to be received yet.
	}
}

// Load returns how many were counted.
func (c *Counter) Load() uint64 { return c.n.Load() }

// More receives after some were counted, once for many. It is for one reader.
func (c *Counter) More() <-chan struct{} { return c.more }
