package fold

import (
	"strings"
	"testing"

	"github.com/rundlet/rundlet/envd"
)

// The machines are those of package runtime, which tests the rest.
func TestReason(t *testing.T) {
	for want, state := range map[string]envd.RootState{
		"":                     {LayerBytes: Least, LargestBytes: Largest},
		"they are 15 MiB":      {LayerBytes: Least - 1},
		"they are -1 MiB":      {LayerBytes: -1},
		`"a process, a mount"`: {LayerBytes: Least, Lost: []string{"a process", "a mount"}},
		"one has 513 MiB":      {LayerBytes: Least, LargestBytes: Largest + 1<<20},
		"one has -1 MiB":       {LayerBytes: Least, LargestBytes: -1},
	} {
		if got := reason(state); got != want {
			t.Errorf("%+v: %q, want %q", state, got, want)
		}
	}
	// What a guest says goes into one line of the log.
	if got := reason(envd.RootState{LayerBytes: Least, Lost: []string{strings.Repeat("\n", 5000)}}); strings.Contains(got, "\n") || len(got) > 3000 {
		t.Errorf("%d bytes: %.50s", len(got), got)
	}
}
