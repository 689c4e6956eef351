//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "rundlet-agent: runs in a Linux guest only")
	os.Exit(1)
}
