package likelinux

import (
	"bytes"
	"testing"

	"gvisor.dev/gvisor/pkg/state"
)

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
