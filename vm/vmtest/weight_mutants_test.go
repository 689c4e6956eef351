package vmtest_test

import (
	"context"
	"errors"

	"github.com/rundlet/rundlet/vm"
)

// weightMutants divide processors in another way than by their weights.
var weightMutants = []mutant{
	{"the weight is dropped", "weight/is-that-of-the-spec-also-on-restore", forgets(func(s *vm.Spec) { s.Weight = 0 })},
	{"a restore keeps no weight", "weight/is-that-of-the-spec-also-on-restore", forgets(onRestore(func(s *vm.Spec) { s.Weight = 0 }))},
	{"a weight without bounds is taken", "weight/is-that-of-the-spec-also-on-restore", forgets(func(s *vm.Spec) {
		if s.Weight < 0 || s.Weight > vm.MaxWeight {
			s.Weight = vm.DefaultWeight
		}
	})},
	{"weights do not change", "weight/changes-in-every-state-but-destroyed", func(b *broken) {
		b.weigh = func(context.Context, string, int) error { return nil }
	}},
	{"a stop resets the weight", "weight/changes-in-every-state-but-destroyed", func(b *broken) {
		b.stop = func(ctx context.Context, id string) error {
			return errors.Join(b.Driver.Stop(ctx, id), b.Driver.SetWeight(ctx, id, vm.DefaultWeight))
		}
	}},
	{"a new name resets the weight", "weight/goes-with-the-machine", func(b *broken) {
		b.rename = func(ctx context.Context, oldID, newID string) error {
			return errors.Join(b.Driver.Rename(ctx, oldID, newID), b.Driver.SetWeight(ctx, newID, vm.DefaultWeight))
		}
	}},
	{"adoption resets the weight", "weight/outlives-the-driver-value", func(b *broken) {
		b.adopt = func(ctx context.Context) ([]vm.View, map[string]string, error) {
			views, lost, err := b.Driver.Adopt(ctx)
			for _, v := range views {
				_ = b.Driver.SetWeight(ctx, v.ID, vm.DefaultWeight)
			}
			return views, lost, err
		}
	}},
}
