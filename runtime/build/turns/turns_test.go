package turns

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
)

func TestOneOwnerLeavesPlacesForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := New(4)
		var served []string
		take := func(owner string) {
			go func() {
				if turns.Take(t.Context(), owner) == nil {
					served = append(served, owner) // One at a time: synctest.Wait is between.
				}
			}()
			synctest.Wait()
		}
		for _, owner := range []string{"a", "a", "a", "a", "b", "b", "c", "d"} {
			take(owner)
		}
		if want := []string{"a", "a", "b", "c"}; !slices.Equal(served, want) {
			t.Fatalf("served are %q, want %q", served, want)
		}
		served = nil
		for _, owner := range []string{"a", "a", "c", "d", "b", "b", "a", "a"} {
			turns.Give(owner)
			synctest.Wait()
		}
		if want := []string{"d", "a", "a", "b"}; len(served) != 4 || served[0] != "d" || !slices.Equal(slices.Sorted(slices.Values(served[1:])), want[1:]) {
			t.Errorf("then served are %q, want %q first", served, want)
		}
		if len(turns.has) != 0 || turns.free != 4 || len(turns.waiting) != 0 {
			t.Errorf("left: %+v", turns)
		}
	})
}

func TestAnOwnerThatGivesUpHasNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := New(2)
		if err := turns.Take(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		why, ended := errors.New("why"), make(chan error)
		go func() { ended <- turns.Take(ctx, "a") }()
		synctest.Wait()
		cancel(why)
		if err := <-ended; !errors.Is(err, why) {
			t.Errorf("got %v", err)
		}
		// With its place and the end of its context at the same moment, either is right, and no place is lost.
		if err := turns.Take(ctx, "b"); err == nil {
			turns.Give("b")
		}
		turns.Give("a")
		if len(turns.has) != 0 || turns.free != 2 || len(turns.waiting) != 0 {
			t.Errorf("left: %+v", turns)
		}
	})
}

// Of those that may have a place, one with fewer comes first, and of equals the one that asked first.
func TestWhoIsServedFirst(t *testing.T) {
	for name, c := range map[string]struct {
		places             int
		have, wait         []string
		gives, served, not string
	}{
		"fewer places":     {3, []string{"a", "b"}, []string{"a", "b"}, "b", "b", "a"},
		"as many, in turn": {4, []string{"a", "b", "c"}, []string{"b", "a"}, "c", "b", "a"},
		"the other turn":   {4, []string{"a", "b", "c"}, []string{"a", "b"}, "c", "a", "b"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				turns := New(c.places)
				for _, owner := range c.have {
					if err := turns.Take(t.Context(), owner); err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				served := []string{}
				for _, owner := range c.wait {
					go func() {
						if turns.Take(ctx, owner) == nil {
							served = append(served, owner)
						}
					}()
					synctest.Wait()
				}
				if len(served) != 0 {
					t.Fatalf("%q have places already", served)
				}
				turns.Give(c.gives)
				synctest.Wait()
				if !slices.Equal(served, []string{c.served}) {
					t.Errorf("served are %q, want %s before %s", served, c.served, c.not)
				}
				cancel(nil)
				synctest.Wait()
			})
		})
	}
}
