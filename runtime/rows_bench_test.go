package runtime

import (
	"context"
	"fmt"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
)

// BenchmarkSandboxes is what a request costs beside few sandboxes and beside many.
func BenchmarkSandboxes(b *testing.B) {
	ctx := context.Background()
	for _, n := range []int{10, 10000} {
		f := newFixture(b)
		f.known(n)
		middle, err := f.rt.List(ctx, sandbox.ListFilter{Limit: n/2 + 1})
		if err != nil {
			b.Fatal(err)
		}
		last := middle[n/2]
		for _, bench := range []struct {
			name string
			do   func() error
		}{
			{"page", func() error {
				_, err := f.rt.List(ctx, sandbox.ListFilter{After: &sandbox.Cursor{StartedAt: last.StartedAt, ID: last.ID}, Limit: 101})
				return err
			}},
			{"page-by-metadata", func() error {
				_, err := f.rt.List(ctx, sandbox.ListFilter{Metadata: map[string]string{"third": "2"}, Limit: 101})
				return err
			}},
			{"count", func() error { _, err := f.rt.CountRunning(ctx, sandbox.ListFilter{}); return err }},
			{"get", func() error { _, err := f.rt.Get(ctx, last.ID); return err }},
			{"figures", func() error { _, err := f.rt.Figures(ctx); return err }},
		} {
			b.Run(fmt.Sprintf("%s/%d", bench.name, n), func(b *testing.B) {
				for b.Loop() {
					if err := bench.do(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run(fmt.Sprintf("create-and-kill/%d", n), func(b *testing.B) {
			for b.Loop() {
				sb := f.create()
				if err := f.rt.Kill(ctx, sb.ID); err != nil {
					b.Fatal(err)
				}
				f.forgetHistory()
			}
		})
		for _, sb := range f.rt.live.All() {
			f.rt.live.Remove(sb)
		}
	}
}
