package capacity

import "testing"

func TestOvercommitIsAMultipleOfWhatTheMachineHas(t *testing.T) {
	got := DefaultOvercommit.Budget(2, 16<<30, 190<<30)
	want := Budget{CPUs: 400_000, MemoryBytes: 64 << 30, DiskBytes: 1900 << 30, Sandboxes: 1000}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestASandboxThatIsBeingMadeIsOneLaunch(t *testing.T) {
	want := Budget{CPUs: 2000, MemoryBytes: 512 << 20, DiskBytes: 1 << 30, Sandboxes: 1, Launches: 1}
	if got := Sandbox(2, 512, 1024); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
