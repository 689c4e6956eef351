//go:build !linux

package local

// sameMemory cannot be answered on this system, where nothing is measured.
func sameMemory(int, int) bool { return false }
