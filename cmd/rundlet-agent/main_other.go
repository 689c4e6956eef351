//go:build !linux

package main

import "log"

func main() { log.Fatal("rundlet-agent runs in a Linux guest only") }
