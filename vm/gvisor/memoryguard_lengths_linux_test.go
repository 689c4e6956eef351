package gvisor

import "testing"

// TestOneCallTakesNoMoreThanIsFree has a process ask for three times the memory
// in one system call. It gets less, an error, or is killed; the sandbox goes on.
func TestOneCallTakesNoMoreThanIsFree(t *testing.T) {
	d := guardedMachine(t, 128)
	for _, way := range grabWays {
		t.Logf("%s: %s", way, run(t, d, "a", "", "/init", "grab", way))
		stillAlive(t, d, "a")
	}
}

// TestALargeWriteIsWrittenAsAWhole: many programs take a short write to a file
// for a full disk.
func TestALargeWriteIsWrittenAsAWhole(t *testing.T) {
	d := guardedMachine(t, 128)
	if got := run(t, d, "a", "", "/init", "large"); got != "true" {
		t.Errorf("writing more than the free memory to a file in one call: %q", got)
	}
	stillAlive(t, d, "a")
}

// TestNobodyIsKilledForGarbage has a process take the memory of the guest's
// kernel. When it was killed, what it had is garbage, and not a reason to kill
// others.
func TestNobodyIsKilledForGarbage(t *testing.T) {
	d := guardedMachine(t, 128)
	for range 5 {
		if got := run(t, d, "a", "", "/init", "pipes"); got != "error: signal: killed" {
			t.Fatalf("a process that takes all memory by pipes: %q, want it killed", got)
		}
		for range 5 {
			if got := run(t, d, "a", "", "/init", "size", "/dev/shm"); got != "67108864" {
				t.Errorf("a process after it: %q", got)
			}
		}
	}
	stillAlive(t, d, "a")
}
