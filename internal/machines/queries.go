package machines

import (
	"context"

	"github.com/rundlet/rundlet/vm"
)

// Queries are the calls of a driver that its table alone answers: vm.Waiter, vm.Forgetter, and vm.Query without Info. A driver embeds it.
type Queries[M Embedding] struct{ table *Table[M] }

// Queries returns those of the table.
func (t *Table[M]) Queries() Queries[M] { return Queries[M]{t} }

// List implements vm.Query.
func (q Queries[M]) List(ctx context.Context) ([]vm.View, error) {
	if err := ctx.Err(); err != nil {
		return nil, Failure("list", "", nil, err)
	}
	return q.table.Views(), nil
}

// Get implements vm.Query.
func (q Queries[M]) Get(ctx context.Context, id string) (vm.View, bool, error) {
	if err := ctx.Err(); err != nil {
		return vm.View{}, false, Failure("get", id, nil, err)
	}
	view, ok := q.table.View(id)
	return view, ok, nil
}

// ListSnapshots implements vm.Query.
func (q Queries[M]) ListSnapshots(ctx context.Context, id string) ([]string, bool, error) {
	view, ok, err := q.Get(ctx, id)
	return view.Snapshots, ok, err
}

// Wait implements vm.Waiter.
func (q Queries[M]) Wait(ctx context.Context, id string) (string, error) {
	return q.table.Wait(ctx, id)
}

// Forget implements vm.Forgetter.
func (q Queries[M]) Forget(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return Failure("forget", id, nil, err)
	}
	return q.table.Forget(id)
}
