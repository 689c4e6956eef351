package pool

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/runtime/admission"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/vm/memvm"
)

// full is a disk without a free byte.
type full struct{}

func (full) FreeBytes(string) (int64, error) { return 0, nil }

// A node without warm sandboxes needs no room for them, and its log does not say that it has none.
func TestAnEmptyPoolDoesNotLookForRoom(t *testing.T) {
	group := background.New(t.Context())
	defer group.Wait()
	defer group.Stop()
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	p := New(Config{
		Driver: memvm.New(memvm.Options{}), Background: group, Log: log,
		Admission: admission.New(admission.Config{Disk: full{}, Floors: disk.Floors{WarmPool: 1}, Life: group.Context(), Log: log, OnYield: func(string) {}}),
	})
	if n := p.Refill(time.Now()); n != 0 || said.Len() > 0 {
		t.Errorf("%d launches, %s", n, said.String())
	}
	p.SetTarget("base", Target{Ready: 1})
	p.Keep(claim.Origin{Template: true, ID: "base", TemplateID: "base", Alias: "base", VMID: "v", Snapshot: "s"})
	if n := p.Refill(time.Now()); n != 0 || !strings.Contains(said.String(), "no capacity to refill") {
		t.Errorf("%d launches on a full disk, %s", n, said.String())
	}
}
