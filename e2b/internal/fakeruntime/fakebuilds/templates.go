package fakebuilds

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/rundlet/rundlet/sandbox"
)

// known returns one of Known; nil if it is none.
func (b *Builds) known(nameOrID string) *sandbox.Template {
	for i, t := range b.Known {
		if t.ID == nameOrID || slices.Contains(t.Aliases, nameOrID) {
			return &b.Known[i]
		}
	}
	return nil
}

// Templates implements templates.Runtime: those that have a build that is ready.
func (b *Builds) Templates(context.Context) ([]sandbox.Template, error) {
	if err := b.enter(); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	all := slices.Clone(b.Known)
	for _, t := range b.templates {
		if t.BuildID != "" {
			all = append(all, t.shown())
		}
	}
	return all, nil
}

// shown is the record of a template.
func (t *template) shown() sandbox.Template {
	out := t.Template
	out.BuildCount, out.BuildState = len(t.builds), t.builds[len(t.builds)-1].State
	return out
}

// Template implements templates.Runtime.
func (b *Builds) Template(_ context.Context, name string) (sandbox.Template, error) {
	if err := b.enter(); err != nil {
		return sandbox.Template{}, err
	}
	defer b.mu.Unlock()
	if t := b.known(name); t != nil {
		return *t, nil
	}
	bare, tag, tagged := strings.Cut(name, ":")
	t, err := b.find(bare)
	if err != nil {
		return sandbox.Template{}, err
	}
	if t.BuildID == "" || tagged && t.tags[tag].BuildID == "" {
		return sandbox.Template{}, fmt.Errorf("template %q: %w", name, sandbox.ErrTemplateNotFound)
	}
	return t.shown(), nil
}

// Has reports whether a sandbox can be created from a template.
func (b *Builds) Has(name string) bool {
	_, err := b.Template(context.Background(), name)
	return err == nil
}
