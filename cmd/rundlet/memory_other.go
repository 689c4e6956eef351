//go:build !linux

package main

// hostMemory is not known here; no driver runs here either.
func hostMemory() uint64 { return 0 }
