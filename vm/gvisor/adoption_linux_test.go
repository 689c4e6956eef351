package gvisor

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Machines that answer late are waited for while others answer, and no longer.
func TestAnAdoptionWaitsForThoseThatAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := map[string]time.Duration{"quick": time.Millisecond, "slow": 90 * time.Millisecond, "late": 400 * time.Millisecond, "never": time.Hour}
		var found []*adoption
		for id := range answers {
			found = append(found, &adoption{r: record{ID: id}})
		}
		began := time.Now()
		adoptAll(t.Context(), found, func(ctx context.Context, r record) (*machine, error) {
			select {
			case <-time.After(answers[r.ID]):
				return newMachine(r.ID, "key"), nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		// The longest time between two answers is then that of a quiet one.
		if took := time.Since(began); took != answers["late"]+quietFactor*mostGap {
			t.Errorf("it took %v", took)
		}
		for _, a := range found {
			if (a.m != nil) != (a.r.ID != "never") || (a.err != nil) != (a.r.ID == "never") {
				t.Errorf("%s: %v, %v", a.r.ID, a.m, a.err)
			}
		}
	})
}
