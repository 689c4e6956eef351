package vmtest_test

import (
	"context"
	"errors"

	"github.com/rundlet/rundlet/vm"
)

// pageOutMutants page machines out in a way that is noticed.
var pageOutMutants = []mutant{
	{"paging out freezes the machine", "page_out/the-machine-runs-on", func(b *broken) {
		b.pageOut = func(ctx context.Context, id string) (int64, error) {
			freed, err := b.Driver.PageOut(ctx, id)
			return freed, errors.Join(err, b.Driver.Stop(ctx, id))
		}
	}},
	{"paging out frees less than nothing", "page_out/the-machine-runs-on", func(b *broken) {
		b.pageOut = func(ctx context.Context, id string) (int64, error) {
			_, err := b.Driver.PageOut(ctx, id)
			return -1, err
		}
	}},
	{"what was paged out is lost", "page_out/nothing-is-lost", func(b *broken) {
		b.pageOut = func(ctx context.Context, id string) (int64, error) {
			if g := b.Driver.Guest(id); g != nil {
				g.Set("long", "")
			}
			return b.Driver.PageOut(ctx, id)
		}
	}},
	{"any machine is paged out", "page_out/only-of-a-running-machine", func(b *broken) {
		b.pageOut = func(ctx context.Context, id string) (int64, error) {
			freed, err := b.Driver.PageOut(ctx, id)
			if errors.Is(err, vm.ErrInvalidTransition) {
				err = nil
			}
			return freed, err
		}
	}},
	{"the context is not looked at", "page_out/not-after-the-end-of-its-context", func(b *broken) {
		b.pageOut = func(ctx context.Context, id string) (int64, error) {
			return b.Driver.PageOut(context.WithoutCancel(ctx), id)
		}
	}},
	{"paging out waits for a save", "page_out/waits-for-no-call", func(b *broken) {
		done := make(chan struct{})
		b.snapshot = func(ctx context.Context, id, name string) error {
			defer close(done)
			return b.Driver.Snapshot(ctx, id, name)
		}
		b.pageOut = func(ctx context.Context, id string) (int64, error) {
			select {
			case <-done:
			case <-ctx.Done():
				return 0, ctx.Err()
			}
			return b.Driver.PageOut(ctx, id)
		}
	}},
}
