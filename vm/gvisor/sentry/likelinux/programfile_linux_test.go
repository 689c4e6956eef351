package likelinux

import (
	"bytes"
	"testing"

	"gvisor.dev/gvisor/pkg/state"
)

// A guest may be saved while a process has a table of sockets open.
func TestATableOfSocketsCanBeSaved(t *testing.T) {
	var saved bytes.Buffer
	before, after := &connected{}, (*connected)(nil)
	if _, err := state.Save(t.Context(), &saved, &before); err != nil {
		t.Fatal(err)
	}
	if _, err := state.Load(t.Context(), &saved, &after); err != nil || after == nil {
		t.Fatal(after, err)
	}
}

func TestClosedSocketsAreLeftOut(t *testing.T) {
	for line, want := range map[string]bool{
		"  sl  local_address rem_address   st tx_queue rx_queue\n": false,
		"   7: 00000000:1F40 00000000:0000 07 00000000:00000000\n": true,
		"   7: 00000000:1F40 00000000:0000 0A 00000000:00000000\n": false,
		"   7: 00000000:1F40 00000000:0007 01 07\n":                false,
		"\n": false,
	} {
		if closed([]byte(line)) != want {
			t.Errorf("%q is closed: %v", line, !want)
		}
	}
}

// TestAProgramThatIsBeingLoadedCanBeSaved saves a programFile as gVisor would, in
// the moment in which one exists.
func TestAProgramThatIsBeingLoadedCanBeSaved(t *testing.T) {
	var saved bytes.Buffer
	before, after := &programFile{}, (*programFile)(nil)
	if _, err := state.Save(t.Context(), &saved, &before); err != nil {
		t.Fatal(err)
	}
	if _, err := state.Load(t.Context(), &saved, &after); err != nil || after == nil {
		t.Fatal(after, err)
	}
}
