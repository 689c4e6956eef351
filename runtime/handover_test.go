package runtime

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/runtime/step"
)

// A machine that came into the pool belongs to the caller that takes it out, at once:
// the one that put it there must not touch it any more.
func TestAMachineThatIsTakenAtOnceIsNotTouchedByThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ctx := newFixture(t), context.Background()
		f.cfg.Warm = pool.Target{Ready: 1}
		f.restart()
		defer f.rt.Close()
		var once sync.Once
		f.failpoint(func(at step.Step) error {
			if at == step.WarmRetained {
				once.Do(func() {
					sb, err := f.rt.Create(ctx, request())
					if err != nil {
						t.Error(err)
						return
					}
					if err := f.rt.Kill(ctx, sb.ID); err != nil {
						t.Error(err)
					}
				})
			}
			return nil
		})
		if err := f.rt.Prepare(ctx); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, s := range f.rt.pool.Stats(time.Now()) {
			if s.Hits != 1 {
				t.Errorf("%d machines were taken as soon as they were in the pool", s.Hits)
			}
		}
		if got := f.pooled(); got != [2]int{1, 0} {
			t.Errorf("pooled %v", got)
		}
		f.rt.Close()
		f.wantNothingLeft()
	})
}
