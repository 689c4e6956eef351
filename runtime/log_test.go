package runtime

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTheLogHasTheLifeOfASandbox(t *testing.T) {
	f, ctx, log := newFixture(t), context.Background(), &logged{}
	f.cfg.Log = slog.New(log)
	f.restart()
	sb := f.create()
	f.pause(sb.ID)
	if _, _, err := f.rt.Connect(ctx, sb.ID, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := f.rt.Kill(ctx, sb.ID); err != nil {
		t.Fatal(err)
	}
	var events []string
	for _, line := range log.saying("sandbox_id=" + sb.ID) {
		if event, _, _ := strings.Cut(line, " sandbox_id="); strings.HasPrefix(event, "sandbox ") {
			events = append(events, event)
		}
	}
	if want := []string{"sandbox created", "sandbox paused", "sandbox resumed", "sandbox ended"}; !slices.Equal(events, want) {
		t.Errorf("the log has %q, want %q", events, want)
	}
}
