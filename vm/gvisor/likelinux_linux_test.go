package gvisor

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestSystemCallsAreLikeLinuxs runs the same programs in a guest, and on the
// host.
func TestSystemCallsAreLikeLinuxs(t *testing.T) {
	d := newDriver(t)
	start(t, d, "a", guestSpec(t))
	for name := range likeLinuxChecks {
		cmd := exec.Command("/proc/self/exe")
		cmd.Args = []string{"/init", "like-linux", name}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatal(err)
		}
		sorted := func(text string) []string { return slices.Sorted(strings.Lines(strings.TrimSpace(text) + "\n")) }
		want, got := sorted(string(out)), sorted(run(t, d, "a", "", "/init", "like-linux", name))
		if len(want) < 2 {
			t.Errorf("%s on the host: %q", name, want)
		}
		for _, line := range want {
			if !slices.Contains(got, line) {
				t.Errorf("%s: only on the host: %s", name, line)
			}
		}
		for _, line := range got {
			if !slices.Contains(want, line) {
				t.Errorf("%s: only in the guest: %s", name, line)
			}
		}
	}
}

// TestATerminalWaitsForItsProgramOverASave saves a guest with a master whose other
// side is not open yet.
func TestATerminalWaitsForItsProgramOverASave(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	start(t, d, "a", guestSpec(t))
	if text, err := (client{d}).do(ctx, "a", "POST", "/terminal/open", ""); err != nil || text != "" {
		t.Fatal(text, err)
	}
	if err := d.Snapshot(ctx, "a", "one"); err != nil {
		t.Fatal(err)
	}
	restore(t, d, "b", resumed(t, "a", "one"))
	const want = `resource temporarily unavailable "late" <nil> input/output error`
	for _, id := range []string{"a", "b"} {
		if got, err := (client{d}).do(ctx, id, "POST", "/terminal/use", ""); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", id, got, err, want)
		}
	}
}

// TestSignalsFromWithinSpareTheFirstProcess has every call that sends a signal, to the
// process and to another of its threads.
func TestSignalsFromWithinSpareTheFirstProcess(t *testing.T) {
	d := newDriver(t)
	start(t, d, "a", guestSpec(t))
	for _, signal := range []string{"SIGTERM", "SIGQUIT", "SIGABRT", "SIGSTOP", "SIGKILL"} {
		if got := run(t, d, "a", "", "/init", "signal", signal); got != strings.Repeat("<nil> <nil> errno 0 errno 0 errno 0 ", 2)+"<nil>" {
			t.Errorf("%s as root: %s", signal, got)
		}
		if got := run(t, d, "a", "?user=1", "/init", "signal", signal); strings.Count(got, "not permitted") != 11 {
			t.Errorf("%s as a user: %s", signal, got)
		}
	}
	if got := run(t, d, "a", "", "/init", "signal-child"); got != "signal: killed" {
		t.Errorf("another process: %s", got)
	}
}
