package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

// TestAPowerCutAtAnyWriteLosesNothingThatWasAcknowledged lets a client use a
// server whose disk is recorded, and then looks at what would be on the disk had
// the power failed at any write: whatever was answered with success is there,
// whatever was deleted is not, and no row is without its files. On some of these
// disks the next server is started, and resumes what is paused.
func TestAPowerCutAtAnyWriteLosesNothingThatWasAcknowledged(t *testing.T) {
	sessions, cuts, starts, seeds := 1, 60, 2, uint64(2)
	if *soak {
		sessions, cuts, starts, seeds = 2, 0, 20, 2
	}
	l := newPowerLab(t)
	begin := time.Now()
	first := l.position()
	for range sessions {
		l.session()
	}
	last := l.position()
	l.srv.stop(t)
	if err := l.Unmount(); err != nil {
		t.Fatal(err)
	}
	recorded := time.Since(begin)

	writes, err := l.Writes()
	if err != nil {
		t.Fatal(err)
	}
	writes = slices.DeleteFunc(writes, func(p int) bool { return p < first || p > last })
	points := pick(writes, l.turns(), cuts)
	rng := rand.New(rand.NewPCG(drawSeed(t), 0))
	started := map[int]bool{} // of those at which there is something to resume
	some := slices.DeleteFunc(slices.Clone(points), func(p int) bool { return len(l.pausedAt(p)) == 0 })
	for len(started) < min(starts, len(some)) {
		started[some[rng.IntN(len(some))]] = true
	}

	begin = time.Now()
	var total verdict
	looks, resumed := 0, 0
	for _, point := range points {
		for n := range seeds {
			seed := uint64(0)
			if n > 0 {
				seed = rng.Uint64() | 1
			}
			looks++
			v := l.look(point, seed, func(r *remains) verdict { return l.judge(point, r) })
			if n == seeds-1 && started[point] {
				v = add(v, l.look(point, seed, func(*remains) verdict { return l.resumeAll(point, &resumed) }))
			}
			if bad := slices.Concat(v.lost, v.risen, v.broken); len(bad) > 0 && len(total.lost)+len(total.risen)+len(total.broken) < 20 {
				t.Logf("cut at %d, seed %d: %s", point, seed, strings.Join(bad, "; "))
			}
			total = add(total, v)
		}
	}
	record(t, "power cut", map[string]any{
		"writes": len(writes), "cut points": len(points), "cuts": looks, "operations": l.ops, "recording seconds": recorded.Seconds(),
		"replay seconds": time.Since(begin).Seconds(), "servers started": len(started), "resumed": resumed,
		"lost": len(total.lost), "resurrected": len(total.risen), "rows without files": len(total.broken),
	})
	if len(total.lost) > 0 || len(total.risen) > 0 || len(total.broken) > 0 {
		t.Errorf("%d cuts: %d times lost, %d times resurrected, %d times a row without its files",
			looks, len(total.lost), len(total.risen), len(total.broken))
	}
}

func add(a, b verdict) verdict {
	return verdict{append(a.lost, b.lost...), append(a.risen, b.risen...), append(a.broken, b.broken...)}
}

// pick chooses at most about so many of the writes, evenly, 0 for all, and every
// position from which something else holds.
func pick(writes, turns []int, most int) []int {
	step := 1
	if most > 0 {
		step = max(1, len(writes)/most)
	}
	points := slices.Clone(turns)
	for i := 0; i < len(writes); i += step {
		points = append(points, writes[i])
	}
	slices.Sort(points)
	return slices.Compact(points)
}

// look mounts the disk of a cut. One that cannot be read has lost everything.
func (l *powerLab) look(point int, seed uint64, see func(*remains) verdict) (v verdict) {
	l.t.Helper()
	if err := l.Cut(point, seed); err != nil {
		l.t.Fatalf("cut at %d, seed %d: %v", point, seed, err)
	}
	r, err := readRemains(l.t.Context(), filepath.Join(l.dir, "state"))
	if err != nil {
		v.lose("database", "%v", err)
	} else {
		v = see(r)
	}
	if err := l.Unmount(); err != nil {
		l.t.Fatal(err)
	}
	return v
}

// resumeAll starts a server on the disk of a cut and resumes what must be paused.
func (l *powerLab) resumeAll(point int, resumed *int) (v verdict) {
	l.t.Helper()
	l.start()
	defer l.srv.stop(l.t)
	at := l.at(point)
	for _, id := range l.pausedAt(point) {
		sb, _, err := l.api.Connect(l.t.Context(), id, time.Hour)
		content := ""
		if err == nil {
			content, err = run(l.t.Context(), l.api, sb, "cat ~/file")
		}
		if err == nil && content != at[id].content {
			err = fmt.Errorf("its file has %q, not %q", content, at[id].content)
		}
		if err != nil {
			v.lose(id, "acknowledged as paused, and a server started then says: %v\n%s", err, l.srv.troubles(id))
		}
		*resumed++
	}
	for id, p := range at {
		var e *client.Error
		if _, err := l.api.Get(l.t.Context(), id); p.kept == keptGone && !(errors.As(err, &e) && e.Code == 404) {
			v.risen = append(v.risen, fmt.Sprintf("%s: acknowledged as killed, and a server started then says %v", id, err))
		}
	}
	return v
}
