//go:build linux

package move

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/rundlet/rundlet/image/artifact"
	"github.com/rundlet/rundlet/node/beside"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// Push puts the build that NAME or NAME:TAG means into a place: a reference in a registry, "oci:DIR", or FILE.tar. The template may be
// used, and even deleted, meanwhile. A push that is repeated sends what is missing. The errors include sandbox.ErrTemplateNotFound, and
// vm.ErrUnsupported for a template that shows directories of this host.
func Push(ctx context.Context, template, to string, cfg Config) (moved Moved, err error) {
	p, err := beside.Open(ctx, cfg.Dirs, cfg.Driver)
	if err != nil {
		return Moved{}, err
	}
	defer p.Close()
	t, b, n, err := find(ctx, p.Store, template)
	if err != nil {
		return Moved{}, err
	}
	if !p.Here(n) {
		return Moved{}, fmt.Errorf("template %s: its files are those of another node or driver", t.Name)
	}
	c, err := config(ctx, p, n)
	if err != nil {
		return Moved{}, err
	}
	c.Name, c.BuildID, c.CreatedAt = t.Name, b.ID, b.FinishedAt
	c.VCPUs, c.MemoryMiB, c.DiskMiB = b.VCPUs, b.MemoryMiB, b.DiskMiB
	m, err := mover(p)
	if err != nil {
		return Moved{}, err
	}
	out, err := m.ExportSnapshot(ctx, n.VMID, n.Snapshot)
	if err != nil {
		return Moved{}, fmt.Errorf("template %s: %w", template, err)
	}
	c.Snapshot = out.Description
	sources, done, err := open(out)
	if err != nil {
		return Moved{}, err
	}
	defer done()
	_, tag := split(template)
	sink, abandon, err := placeOf(to).sink(ctx, t.Name+":"+tag, cfg.Registry)
	if err != nil {
		return Moved{}, err
	}
	defer func() { err = errors.Join(err, abandon()) }()
	moved = Moved{Template: template, Place: to, BuildID: b.ID}
	for _, s := range sources {
		moved.Bytes += s.Bytes
	}
	digest, err := artifact.Push(ctx, c, sources, sink, func(done int64) { cfg.progress(done, moved.Bytes) })
	if err != nil {
		return Moved{}, fmt.Errorf("push template %s: %w", template, err)
	}
	moved.Digest = digest.String()
	return moved, nil
}

// config is what the rows say of a template.
func config(ctx context.Context, p *beside.Parts, n store.Snapshot) (c artifact.Config, err error) {
	if c.Env, err = p.Store.Environments.Get(ctx, n.ID); err != nil {
		return c, err
	}
	tokens, err := machine.TokensOf(ctx, p.Store.Settings)
	if err != nil {
		return c, err
	}
	c.Driver, c.User, c.Workdir, c.Token = p.Driver.Info().Driver, n.Defaults.User, n.Defaults.Workdir, n.HolderToken
	if repo := n.Defaults.Repository; repo != (sandbox.Repository{}) {
		moved := artifact.Repository(repo)
		c.Repository = &moved
	}
	if c.Token == "" {
		c.Token = tokens.Control(n.Source)
	}
	return c, nil
}

// open opens all files at once: they are read to their ends, also if the template is deleted meanwhile.
func open(m vm.MovedSnapshot) (sources []artifact.Source, done func(), err error) {
	var files []*os.File
	done = func() {
		for _, f := range files {
			f.Close()
		}
	}
	add := func(role, name, path string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		files = append(files, f)
		info, err := f.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("%s is not a regular file", path)
		}
		if err == nil {
			sources = append(sources, artifact.Source{Role: role, Name: name, Bytes: info.Size(), Content: f})
		}
		return err
	}
	for _, f := range m.Files {
		err = errors.Join(err, add(artifact.Saved, f.Name, f.Path))
	}
	err = errors.Join(err, add(artifact.Root, "root.erofs", m.Root.Path), add(artifact.Engine, m.Engine.Name, m.Engine.Path))
	if err != nil {
		done()
		return nil, nil, err
	}
	return sources, done, nil
}
