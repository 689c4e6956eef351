//go:build linux

package move

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/rundlet/rundlet/image/artifact"
	"github.com/rundlet/rundlet/image/catalogue"
	"github.com/rundlet/rundlet/internal/flock"
	"github.com/rundlet/rundlet/node/beside"
	"github.com/rundlet/rundlet/node/space"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// Pull takes a template from a place, and gives it the name NAME or NAME:TAG; empty: the one that it had. A template of that name gets
// another build. What does not fit this host is refused before its files come. A pull that was broken off goes on where it was. The
// errors include vm.ErrIncompatible, artifact.ErrNotATemplate, sandbox.ErrDiskFull and oci.ErrDigest.
func Pull(ctx context.Context, from, as string, cfg Config) (moved Moved, err error) {
	p, err := beside.Open(ctx, cfg.Dirs, cfg.Driver)
	if err != nil {
		return Moved{}, err
	}
	defer p.Close()
	m, err := mover(p)
	if err != nil {
		return Moved{}, err
	}
	if err := os.MkdirAll(p.Dirs.Pulls(), 0o700); err != nil {
		return Moved{}, err
	}
	want := ""
	if as != "" {
		name, tag := split(as)
		want = name + ":" + tag
	}
	// In a directory with several templates the name chooses.
	disk, err := space.DiskOf(p.Dirs.Pulls())
	if err != nil {
		return Moved{}, err
	}
	blobs, d, done, err := placeOf(from).open(ctx, want, p.Dirs.Pulls(), max(0, disk.Free-disk.Floors.Build), cfg.Registry)
	if err != nil {
		return Moved{}, fmt.Errorf("pull %s: %w", from, err)
	}
	defer func() { err = errors.Join(err, done()) }()
	a, err := artifact.Read(ctx, blobs, d)
	if err != nil {
		return Moved{}, fmt.Errorf("pull %s: %w", from, err)
	}
	if as == "" {
		as = a.Config.Name
	}
	pull := &puller{Parts: p, cfg: cfg, a: a, mover: m, from: from}
	pull.name, pull.tag = split(as)
	build, err := pull.do(ctx)
	if err != nil {
		return Moved{}, fmt.Errorf("pull %s: %w", from, err)
	}
	return Moved{Template: pull.name + ":" + pull.tag, Place: from, Digest: a.Digest.String(), Bytes: a.Config.Bytes(), BuildID: build}, nil
}

// puller is one pull.
type puller struct {
	*beside.Parts
	cfg       Config
	a         *artifact.Artifact
	mover     vm.SnapshotMover
	from      string
	name, tag string
	// engine says that the program that restores the snapshot is missing here.
	engine bool
}

func (p *puller) do(ctx context.Context) (buildID string, err error) {
	if err := p.check(ctx); err != nil {
		return "", err
	}
	staging := filepath.Join(p.Dirs.Pulls(), p.a.Digest.Hex)
	lock, err := p.lock(ctx, staging)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	_ = space.SweepPulls(p.Dirs) // The next pull tries again, and so does a prune.
	if err := os.MkdirAll(staging, 0o700); err != nil {
		return "", err
	}
	images, err := catalogue.Open(catalogue.Config{Dir: p.Dirs.Images()})
	if err != nil {
		return "", err
	}
	root := p.a.Config.Of(artifact.Root)[0]
	path, release, err := images.Adopt("", root.SHA256)
	missing := errors.Is(err, catalogue.ErrNotFound)
	if err != nil && !missing {
		return "", err
	}
	if !missing {
		defer release() // By then the claim names it.
	}
	if err := p.fetch(ctx, staging, missing); err != nil {
		return "", err
	}
	if missing {
		if path, release, err = images.Adopt(filepath.Join(staging, root.Name), root.SHA256); err != nil {
			return "", err
		}
		defer release()
	}
	if buildID, err = p.install(ctx, staging, path); err != nil {
		return "", err
	}
	err = errors.Join(os.RemoveAll(staging), os.Remove(staging+space.PullLock))
	_ = os.Remove(p.Dirs.Pulls()) // Succeeds if no other pull goes on.
	return buildID, err
}

// lock excludes other pulls of the template. A call that only looks whether one goes on holds the lock for a moment.
func (p *puller) lock(ctx context.Context, staging string) (*os.File, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Second, flock.ErrHeld)
	defer cancel()
	lock, err := flock.Await(ctx, staging+space.PullLock)
	if errors.Is(err, flock.ErrHeld) {
		return nil, fmt.Errorf("%w: another pull of the same template goes on", sandbox.ErrConflict)
	}
	return lock, err
}

var token = regexp.MustCompile(`^[0-9a-f]{64}$`)

// The bounds of what a template says of its sandboxes.
const (
	maxText   = 4096
	maxCPUs   = 4096
	maxMiB    = 1 << 26
	leastSize = 1
)

// check refuses what this node cannot use, before anything comes.
func (p *puller) check(ctx context.Context) error {
	c := p.a.Config
	if err := (sandbox.TemplateRequest{Name: p.name, Tags: []string{p.tag}}).Check(); err != nil {
		return err
	}
	if _, err := p.Store.Snapshots.Get(ctx, p.name); err == nil {
		return fmt.Errorf("%w: %q is the name of a snapshot: take another one with --name", sandbox.ErrConflict, p.name)
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if p.name == template.BaseAlias {
		return fmt.Errorf("%w: the template %q is made by this machine: take another name with --name", sandbox.ErrInvalid, p.name)
	}
	if err := sandbox.CheckEnvironment(c.Env); err != nil {
		return err
	}
	if c.Driver != p.Driver.Info().Driver {
		return fmt.Errorf("%w: it is for the driver %.40q, and this node has %s", vm.ErrIncompatible, c.Driver, p.Driver.Info().Driver)
	}
	if !token.MatchString(c.Token) || len(c.User) > maxText || len(c.Workdir) > maxText ||
		c.VCPUs < leastSize || c.VCPUs > maxCPUs || c.MemoryMiB < leastSize || c.MemoryMiB > maxMiB || c.DiskMiB < leastSize || c.DiskMiB > maxMiB {
		return fmt.Errorf("%w: its size or its defaults cannot be used", sandbox.ErrInvalid)
	}
	if c.Repository != nil {
		if err := checkRepository(*c.Repository); err != nil {
			return fmt.Errorf("%w: its repository cannot be used: %w", sandbox.ErrInvalid, err)
		}
	}
	engine, err := p.mover.CheckImport(ctx, c.Snapshot)
	if err != nil || engine == "" {
		return err
	}
	p.engine = true
	switch found := c.Of(artifact.Engine); {
	case len(found) == 0 || found[0].Name != engine:
		return fmt.Errorf("%w: it needs the sandbox program %s, which is neither here nor in it: push it again, or use the version of rundlet that made it", vm.ErrIncompatible, engine)
	case !p.cfg.TrustEngine:
		return &vm.Error{Op: "pull", Kind: vm.ErrIncompatible, Err: errors.New("it was made by another version of rundlet, whose sandbox program is not here"),
			Hint: "if you trust its maker as you trust your own programs, take that program with --trust-engine: it runs on this host as root"}
	}
	return nil
}

// checkRepository refuses what git could take for something else in the commands of a sync.
func checkRepository(r artifact.Repository) error {
	err := errors.Join(sandbox.CheckRepositoryURL(r.URL), sandbox.CheckCheckout(r.Checkout))
	if r.Branch != "" {
		err = errors.Join(err, sandbox.CheckRef(r.Branch))
	}
	if r.Commit != "" && !sandbox.ValidCommit(r.Commit) || len(r.User) > maxText {
		err = errors.Join(err, errors.New("its commit or its user is not one"))
	}
	return err
}

// fetch gets the files that are not here.
func (p *puller) fetch(ctx context.Context, staging string, root bool) error {
	var files []artifact.File
	total := int64(0)
	for _, f := range p.a.Config.Files {
		if f.Role == artifact.Root && !root || f.Role == artifact.Engine && !p.engine {
			continue
		}
		files = append(files, f)
		total += f.Bytes
	}
	room := func(need int64) error {
		disk, err := space.DiskOf(staging)
		if floor := disk.Floors.Build; err == nil && disk.Free < floor+need {
			err = fmt.Errorf("%w: %d MiB are free, the template needs up to %d MiB, and %d MiB must stay free", sandbox.ErrDiskFull, disk.Free>>20, need>>20, floor>>20)
		}
		return err
	}
	have, err := space.Size(space.Object{Paths: []string{staging}})
	if err == nil {
		err = room(max(0, total-have))
	}
	if err != nil {
		return err
	}
	var done atomic.Int64
	for _, f := range files {
		err := p.a.Fetch(ctx, f, filepath.Join(staging, f.Name), func() error { return room(artifact.ChunkBytes) }, func(n int64) { p.cfg.progress(done.Add(n), total) })
		if err != nil {
			return err
		}
	}
	return nil
}
