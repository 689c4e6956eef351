package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
)

// On a full disk a row and its event are written both or not at all, and writes go on when there is room again.
func TestARowAndItsEventOnAFullDisk(t *testing.T) {
	ctx, dir := context.Background(), smallDisk(t, "2m")
	filler := filepath.Join(dir, "filler")
	s := open(t, filepath.Join(dir, "db"))
	defer s.Close()
	written, refused := 0, 0
	put := func(saved bool) error {
		row := sample(fmt.Sprintf("i%d", written+refused), "running")
		if !saved {
			row.SnapshotID = ""
		}
		row.Metadata = map[string]string{"k": strings.Repeat("x", 6<<10)}
		return s.Sandboxes.Put(ctx, &row, sandbox.Event{Type: sandbox.EventCreated, SandboxID: row.ID, Data: []byte(`{"k":"` + strings.Repeat("y", 4<<10) + `"}`)})
	}
	for round := range 6 {
		fill(t, filler, round)
		for i := range 12 {
			if err := put(i%2 == 0); err == nil {
				written++
			} else if errors.Is(err, ErrFull) {
				refused++
			} else {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		if err := put(round%2 == 0); err != nil {
			t.Fatalf("round %d, with room: %v", round, err)
		}
		written++
	}
	rows, err := s.Sandboxes.Live(ctx, "d1")
	if err != nil || len(rows) != written || len(events(t, s)) != written || refused == 0 {
		t.Errorf("%d rows and %d events of %d that were written, %d were refused, %v", len(rows), len(events(t, s)), written, refused, err)
	}
}
