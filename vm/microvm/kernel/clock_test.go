//go:build linux

package kernel

import "testing"

// A host that says nothing of its frequency is none that this was measured on.
func TestHostKHz(t *testing.T) {
	if khz := HostKHz(); khz != 0 && (khz < 100_000 || khz > 20_000_000) {
		t.Errorf("%d kHz", khz)
	}
}
