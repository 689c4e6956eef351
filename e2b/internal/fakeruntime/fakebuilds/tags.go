package fakebuilds

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rundlet/rundlet/sandbox"
)

// DeleteTemplate implements templates.Runtime.
func (b *Builds) DeleteTemplate(_ context.Context, nameOrID string) error {
	if err := b.enter(); err != nil {
		return err
	}
	defer b.mu.Unlock()
	if b.known(nameOrID) != nil {
		return fmt.Errorf("%w: %q is made of files of the host", sandbox.ErrInvalid, nameOrID)
	}
	t, err := b.find(nameOrID)
	if err != nil {
		return err
	}
	t.Template, t.builds = sandbox.Template{}, nil // Its place stays, because their number makes the ids.
	return nil
}

// SetPublic implements templates.Runtime.
func (b *Builds) SetPublic(_ context.Context, nameOrID string, public bool) error {
	if err := b.enter(); err != nil {
		return err
	}
	defer b.mu.Unlock()
	t, err := b.find(nameOrID)
	if err == nil {
		t.Public = public
	}
	return err
}

// Tag implements templates.Runtime.
func (b *Builds) Tag(_ context.Context, target string, tags []string) (sandbox.Build, error) {
	if err := b.enter(); err != nil {
		return sandbox.Build{}, err
	}
	defer b.mu.Unlock()
	name, from, tagged := strings.Cut(target, ":")
	if !tagged {
		from = sandbox.DefaultTag
	}
	t, err := b.find(name)
	if err != nil {
		return sandbox.Build{}, err
	}
	has, ok := t.tags[from]
	if !ok {
		return sandbox.Build{}, fmt.Errorf("tag %q: %w", from, sandbox.ErrTagNotFound)
	}
	_, one, err := b.build(t.ID, has.BuildID)
	if err != nil {
		return sandbox.Build{}, err
	}
	for _, tag := range tags {
		t.tags[tag] = sandbox.TemplateTag{Tag: tag, BuildID: has.BuildID, CreatedAt: one.FinishedAt}
	}
	return one.Build, nil
}

// Untag implements templates.Runtime: all of the tags, or none.
func (b *Builds) Untag(_ context.Context, name string, tags []string) error {
	if err := b.enter(); err != nil {
		return err
	}
	defer b.mu.Unlock()
	t, err := b.find(name)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if _, ok := t.tags[tag]; !ok {
			return fmt.Errorf("tag %q: %w", tag, sandbox.ErrTagNotFound)
		}
		if tag == sandbox.DefaultTag {
			return fmt.Errorf("%w: the tag %q stays", sandbox.ErrInvalid, tag)
		}
	}
	for _, tag := range tags {
		delete(t.tags, tag)
	}
	return nil
}

// Tags implements templates.Runtime.
func (b *Builds) Tags(_ context.Context, nameOrID string) ([]sandbox.TemplateTag, error) {
	if err := b.enter(); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	t, err := b.find(nameOrID)
	if err != nil {
		return nil, err
	}
	return slices.SortedFunc(maps.Values(t.tags), func(a, b sandbox.TemplateTag) int { return cmp.Compare(a.Tag, b.Tag) }), nil
}
