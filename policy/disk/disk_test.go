package disk

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

// probe counts its calls and returns a given answer.
type probe struct {
	mu    sync.Mutex
	free  int64
	err   error
	calls int
}

func (p *probe) FreeBytes(string) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	return p.free, p.err
}

func TestFloorEqualityPasses(t *testing.T) {
	for _, floor := range []int64{RestoreFloor, SaveFloor, BuildFloor, WarmPoolFloor, 0} {
		g := Guard{Root: "/srv/state", MinimumFree: floor}
		report, err := g.Check(&probe{free: floor})
		if err != nil || report != (Report{"/srv/state", floor, floor}) {
			t.Errorf("exactly %d: %+v, %v", floor, report, err)
		}
		_, err = g.Check(&probe{free: floor - 1})
		var below *BelowError
		if !errors.As(err, &below) || *below != (BelowError{"/srv/state", floor, floor - 1}) {
			t.Errorf("one byte less than %d: %v", floor, err)
		}
	}
}

func TestFloorsAreThoseOfTheReference(t *testing.T) {
	const gib = 1 << 30
	if RestoreFloor != 10*gib || SaveFloor != 10*gib || BuildFloor != 10*gib || WarmPoolFloor != 20*gib || CacheTTL.Seconds() != 30 {
		t.Error("the floors moved")
	}
}

func TestAnUnknownFigureDoesNotPass(t *testing.T) {
	cause := errors.New("no such file system")
	_, err := Guard{Root: "/gone"}.Check(&probe{free: 1 << 60, err: cause})
	var failed *ProbeError
	if !errors.As(err, &failed) || failed.Root != "/gone" || !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

func TestCachedProbesAgainWhenTheFigureIsOld(t *testing.T) {
	now := time.Unix(1000, 0)
	p := &probe{free: 7}
	c := Cached(p, CacheTTL, func() time.Time { return now })
	for _, step := range []struct {
		name    string
		advance time.Duration
		root    string
		calls   int
	}{
		{"first", 0, "/a", 1},
		{"at once again", 0, "/a", 1},
		{"another root", 0, "/b", 2},
		{"just before it is too old", CacheTTL - 1, "/a", 2},
		{"too old", 1, "/a", 3},
		{"new again", CacheTTL - 1, "/a", 3},
		{"the clock was set back", -time.Hour, "/a", 4},
	} {
		now = now.Add(step.advance)
		if free, err := c.FreeBytes(step.root); free != 7 || err != nil || p.calls != step.calls {
			t.Fatalf("%s: %d, %v after %d calls, want %d", step.name, free, err, p.calls, step.calls)
		}
	}
}

func TestCachedKeepsNoFailure(t *testing.T) {
	p := &probe{err: errors.New("busy")}
	c := Cached(p, CacheTTL, func() time.Time { return time.Unix(0, 0) })
	if _, err := c.FreeBytes("/a"); err == nil {
		t.Fatal("want the failure")
	}
	p.free, p.err = 5, nil
	if free, err := c.FreeBytes("/a"); free != 5 || err != nil {
		t.Errorf("got %d, %v", free, err)
	}
}

func TestCachedForgetsRootsThatNobodyAsksFor(t *testing.T) {
	now := time.Unix(0, 0)
	c := Cached(&probe{}, time.Second, func() time.Time { return now }).(*cached)
	for i := range 1000 {
		now = now.Add(time.Second)
		if _, err := c.FreeBytes(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.figures) != 1 {
		t.Errorf("keeps %d figures", len(c.figures))
	}
}

func TestCachedIsSafeForConcurrentUse(t *testing.T) {
	c := Cached(&probe{free: 3}, time.Second, func() time.Time { return time.Unix(0, 0) })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 50 {
				if free, err := c.FreeBytes(fmt.Sprint(i % 5)); free != 3 || err != nil {
					t.Errorf("got %d, %v", free, err)
				}
			}
		})
	}
	wg.Wait()
}
