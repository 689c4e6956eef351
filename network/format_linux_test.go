package network

import (
	"errors"
	"os"
	"testing"

	"github.com/rundlet/rundlet/internal/format"
	"github.com/rundlet/rundlet/network/record"
)

// What a newer program noted of its uplink cannot be undone by this one, and is left.
func TestTheUplinkOfANewerProgramIsRefusedByName(t *testing.T) {
	u := &uplink{cfg: Config{RunDir: t.TempDir()}}
	if _, ok, err := u.load(); ok || err != nil {
		t.Fatalf("without a record: %v, %v", ok, err)
	}
	if err := os.WriteFile(u.recordPath(), []byte(`{"format":2,"subnet":["now a list"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := u.load()
	var newer *format.NewerError
	if !errors.As(err, &newer) || newer.Found != 2 || newer.Known != record.Format {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(u.recordPath()); err != nil {
		t.Error(err)
	}
	if err := u.save(record.Uplink{}); err != nil {
		t.Fatal(err)
	}
	if rec, ok, err := u.load(); !ok || err != nil || rec.Subnet.IsValid() {
		t.Errorf("what this program writes: %+v, %v, %v", rec, ok, err)
	}
}
