package fakebuilds

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/rundlet/rundlet/sandbox"
)

// WarmTemplates lists what KeepWarm has set.
func (b *Builds) WarmTemplates(context.Context) (list []sandbox.WarmTemplate, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(b.warm)) {
		list = append(list, sandbox.WarmTemplate{Name: name, Ready: b.warm[name], Set: true})
	}
	return list, b.err
}

// KeepWarm notes how many machines of a template shall be kept.
func (b *Builds) KeepWarm(_ context.Context, name string, ready *int) error {
	if err := b.enter(); err != nil {
		return err
	}
	defer b.mu.Unlock()
	switch {
	case ready == nil:
		delete(b.warm, name)
		return nil
	case *ready < 0 || !sandbox.ValidTemplateName(name):
		return fmt.Errorf("%w: warm pool: not %d of %q", sandbox.ErrInvalid, *ready, name)
	case b.known(name) == nil:
		if _, err := b.find(name); err != nil {
			return err
		}
	}
	if b.warm == nil {
		b.warm = map[string]int{}
	}
	b.warm[name] = *ready
	return nil
}
