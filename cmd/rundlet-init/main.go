//go:build linux

// Command rundlet-init is the first process of a microVM.
package main

import (
	"fmt"
	"os"

	"github.com/rundlet/rundlet/vm/microvm/guest"
)

func main() {
	if err := guest.Main(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "rundlet-init:", err)
		os.Exit(1)
	}
}
