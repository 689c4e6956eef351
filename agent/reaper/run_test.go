//go:build linux

package reaper

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestRun(t *testing.T) {
	r := New(false)
	t.Cleanup(r.Close)
	for _, c := range []struct {
		name, script, output, err string
	}{
		{"a success", "cat; pwd; echo $K >&2", "/\nV\n", ""},
		{"a failure", "echo why; exit 3", "why\n", "exit status 3"},
		{"a signal", "kill -9 $$", "", "signal: killed"},
		{"what it started holds the output", "sleep 600 & echo $!", "", ""},
		{"much output", "yes | head -c 1000000", strings.Repeat("y\n", MaxOutput/2), ""},
	} {
		out, err := r.Run(t.Context(), []string{"/bin/sh", "-c", c.script}, []string{"K=V", "PATH=/usr/bin:/bin"})
		if c.output != "" && string(out) != c.output {
			t.Errorf("%s: output %.100q", c.name, out)
		}
		if (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.name == "what it started holds the output" {
			_, _ = r.Run(t.Context(), []string{"/bin/sh", "-c", "kill " + string(out)}, nil)
		}
	}
	if _, err := r.Run(t.Context(), []string{"/none"}, nil); err == nil {
		t.Error("a program that does not exist ran")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.Run(ctx, []string{"/bin/sh", "-c", "sleep 600 & wait"}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a program that does not end: %v", err)
	}
}
