//go:build linux

package move

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/rundlet/rundlet/image/artifact"
	"github.com/rundlet/rundlet/policy/snapshot"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/store/builds"
	"github.com/rundlet/rundlet/vm"
)

// unbounded replaces the bounds of an API key: an operator pulls without a key.
const unbounded = 1 << 30

// install makes a build of the files in staging, and moves the tag to it last. Whenever it is broken off, nothing is half there: a row
// that says building fails at the next start of the daemon, files without a claim are orphans, and a claim without a build is dropped.
func (p *puller) install(ctx context.Context, staging, root string) (buildID string, err error) {
	c, now := p.a.Config, time.Now()
	t := builds.Template{ID: sandbox.NewID()[1:], Name: p.name, CreatedAt: now}
	b := builds.Build{ID: uuid.NewString(), State: sandbox.BuildBuilding, Tags: []string{p.tag}, CreatedAt: now, VCPUs: c.VCPUs, MemoryMiB: c.MemoryMiB, DiskMiB: c.DiskMiB}
	if err := p.Store.Builds.Begin(ctx, &t, &b, builds.Bounds{Waiting: unbounded, Templates: unbounded, Since: now.Add(-24 * time.Hour)}); err != nil {
		return "", err
	}
	p.At(step.BuildBegun)
	defer func() {
		if err == nil {
			return
		}
		b.State, b.Step, b.Message, b.FinishedAt, b.SnapshotID = sandbox.BuildFailed, sandbox.StepBase, err.Error(), time.Now(), ""
		if put := p.Store.Builds.Put(context.WithoutCancel(ctx), &b); !errors.Is(put, store.ErrStale) {
			err = errors.Join(err, put)
		}
	}()
	former, err := p.Store.Builds.Of(ctx, t.ID)
	if err != nil {
		return "", err
	}
	n, err := p.claim(ctx, staging, root, t, b)
	if err != nil {
		return "", err
	}
	p.At(step.BuildSaved)
	defer func() {
		if err != nil {
			_, dropped := p.Drop(context.WithoutCancel(ctx), n)
			err = errors.Join(err, dropped)
		}
	}()
	b.State, b.SnapshotID, b.FinishedAt, b.LogID = sandbox.BuildReady, n.ID, time.Now(), b.ID
	line := sandbox.BuildLog{Time: now, Level: "info", Step: sandbox.StepBase, Message: fmt.Sprintf("Pulled from %.300s, %s", p.from, p.a.Digest)}
	if err := p.Store.Builds.PutLog(ctx, b.ID, []sandbox.BuildLog{line}); err != nil {
		return "", err
	}
	if err := p.Store.Builds.Ready(ctx, &b); err != nil {
		return "", err
	}
	p.At(step.BuildOutcome)
	p.dropFormer(context.WithoutCancel(ctx), former)
	return b.ID, nil
}

// claim makes the driver's snapshot, and its claim with all that a sandbox gets.
func (p *puller) claim(ctx context.Context, staging, root string, t builds.Template, b builds.Build) (n store.Snapshot, err error) {
	c, id := p.a.Config, sandbox.NewID()[1:]
	n = store.Snapshot{
		ID: id, Instance: p.Dirs.Instance(), Kind: claim.KindTemplate, State: store.SnapshotReady, VMID: "bld-i" + id, Snapshot: id, Source: "bld-i" + id,
		TemplateID: t.ID, Alias: t.Name, BuildID: b.ID, VCPUs: b.VCPUs, MemoryMiB: b.MemoryMiB, DiskMiB: b.DiskMiB, CreatedAt: b.CreatedAt,
		Node: p.Node, Driver: p.Driver.Info().Driver, Defaults: sandbox.Defaults{User: c.User, Workdir: c.Workdir}, HolderToken: c.Token,
	}
	if c.Repository != nil {
		n.Defaults.Repository = sandbox.Repository(*c.Repository)
	}
	in := vm.ImportedSnapshot{Description: c.Snapshot, Dir: staging, Root: root}
	if p.engine {
		in.Engine = filepath.Join(staging, c.Of(artifact.Engine)[0].Name)
	}
	spec, err := p.mover.ImportSnapshot(ctx, n.VMID, n.Snapshot, in)
	if err != nil {
		return n, err
	}
	p.At(step.SnapshotSaved)
	n.DiskMiB = max(n.DiskMiB, spec.DiskMiB) // The disk of a machine that is restored is the one that was saved, whatever else is said of it.
	text, err := json.Marshal(spec)
	if err == nil {
		n.Spec = string(text)
		err = p.seal(ctx, &n)
	}
	if err == nil {
		err = p.Store.Snapshots.Put(ctx, &n)
	}
	if err != nil {
		if d, ok := p.Driver.(vm.SnapshotDeleter); ok {
			err = errors.Join(err, d.DeleteSnapshot(context.WithoutCancel(ctx), n.VMID, n.Snapshot))
		}
		return n, err
	}
	if len(c.Env) > 0 {
		if err = p.Store.Environments.Put(ctx, n.ID, c.Env); err != nil {
			_, dropped := p.Drop(context.WithoutCancel(ctx), n)
			err = errors.Join(err, dropped)
		}
	}
	return n, err
}

// seal fills in the digests of the snapshot's files. Those that came were verified when they were complete.
func (p *puller) seal(ctx context.Context, n *store.Snapshot) error {
	inspector, ok := p.Driver.(vm.SnapshotInspector)
	if !ok {
		return nil
	}
	info, err := inspector.InspectSnapshot(ctx, n.VMID, n.Snapshot)
	if err != nil {
		return err
	}
	known := map[string]artifact.File{}
	for _, f := range p.a.Config.Of(artifact.Saved) {
		known[f.Name] = f
	}
	spec := sha256.Sum256([]byte(n.Spec))
	m := snapshot.Manifest{ID: snapshot.Ref(n.ID), Kind: snapshot.Kind(n.Kind), Source: n.VMID, CreatedAt: n.CreatedAt, SpecDigest: hex.EncodeToString(spec[:]), Stamp: info.Stamp}
	for _, f := range info.Files {
		sum := known[f.Name].SHA256
		if sum == "" || known[f.Name].Bytes != f.Bytes { // The driver's own, which is small.
			data, err := os.ReadFile(f.Path)
			if err != nil {
				return err
			}
			digest := sha256.Sum256(data)
			sum = hex.EncodeToString(digest[:])
		}
		m.Files = append(m.Files, snapshot.File{Name: f.Name, Bytes: f.Bytes, SHA256: sum})
		n.Bytes += f.Bytes
	}
	manifest, err := snapshot.Encode(m)
	n.Manifest = string(manifest)
	return err
}

// dropFormer drops the claims of builds that have lost their last tag. What fails is left to a prune.
func (p *puller) dropFormer(ctx context.Context, former []builds.Build) {
	for _, b := range former {
		n, err := claim.ByID(ctx, p.Store.Snapshots, b.SnapshotID)
		if err == nil {
			_, err = p.Drop(ctx, n) // A claim whose build has a tag stays.
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			p.cfg.Log.Warn("could not delete the snapshot of a former build", "snapshot_id", b.SnapshotID, "error", err)
		}
	}
}
