package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/policy/snapshot"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// snapshotTimeout bounds the saving of a sandbox that goes on running.
const snapshotTimeout = 5 * time.Minute

// The kinds of claims on snapshots.
const (
	kindSnapshot        = string(snapshot.KindSnapshot)
	kindPause           = string(snapshot.KindPause)
	kindFilesystemPause = string(snapshot.KindFilesystemPause)
	kindContinuation    = string(snapshot.KindContinuation)
	// kindFork is held while the children of a fork are made.
	kindFork = "fork"
)

// saver saves a machine under a name.
type saver func(ctx context.Context, id, name string) error

// saver returns how the driver saves for a kind.
func (r *Runtime) saver(kind string) (saver, error) {
	if kind != kindFilesystemPause {
		return r.cfg.Driver.Snapshot, nil
	}
	fs, ok := r.cfg.Driver.(vm.FilesystemSnapshotter)
	if !ok {
		return nil, fmt.Errorf("%w: driver %s cannot save the file system alone", sandbox.ErrUnsupported, r.cfg.Driver.Info().Driver)
	}
	return fs.SnapshotFilesystem, nil
}

// newClaim is the row that claims what will be saved of a sandbox.
func (r *Runtime) newClaim(row store.Sandbox, kind string) store.Snapshot {
	id := newID()[1:]
	return store.Snapshot{
		ID: id, Instance: r.cfg.Instance, Kind: kind, State: store.SnapshotSaving, VMID: row.ID, Snapshot: id,
		Source: row.ID, Parent: row.OriginID, TemplateID: row.TemplateID, Alias: row.Alias, BuildID: row.BuildID,
		Spec: row.Spec, VCPUs: row.VCPUs, MemoryMiB: row.MemoryMiB, DiskMiB: row.DiskMiB, KeyID: row.KeyID,
		CreatedAt: time.Now(),
	}
}

// saved writes that what a claim was made for is there.
func (r *Runtime) saved(ctx context.Context, claim *store.Snapshot) error {
	if inspector, ok := r.cfg.Driver.(vm.SnapshotInspector); ok {
		info, err := inspector.InspectSnapshot(ctx, claim.VMID, claim.Snapshot)
		if err != nil {
			return err
		}
		for _, f := range info.Files {
			claim.Bytes += f.Bytes
		}
		r.verify.saved(string(artifact(claim.VMID, claim.Snapshot)), info.Files)
	}
	claim.State = store.SnapshotReady
	return r.cfg.Store.PutSnapshot(ctx, *claim)
}

// Snapshot saves a sandbox that goes on running, or what a paused one resumes
// from, for new sandboxes to be created from. A name that another snapshot has
// moves to this one.
func (r *Runtime) Snapshot(ctx context.Context, id, name, keyID string) (sandbox.Snapshot, error) {
	if name != "" && !snapshotName.MatchString(name) {
		return sandbox.Snapshot{}, fmt.Errorf("%w: snapshot name %.128q: use a to z, 0 to 9, '.', '_', '-', '/' and ':', at most 128 of them", sandbox.ErrInvalid, name)
	}
	if err := r.nameIsNoID(ctx, name); err != nil {
		return sandbox.Snapshot{}, err
	}
	claim, err := r.capture(ctx, id, func(claim *store.Snapshot) {
		claim.Kind, claim.Name, claim.KeyID = kindSnapshot, name, keyID
	})
	if err != nil {
		return sandbox.Snapshot{}, fmt.Errorf("snapshot sandbox %s: %w", id, err)
	}
	return viewSnapshot(claim), nil
}

// nameIsNoID refuses the id of a snapshot as the name of another, which nobody
// would find by it.
func (r *Runtime) nameIsNoID(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	bare, _, _ := strings.Cut(name, ":")
	claim, err := r.cfg.Store.Snapshot(ctx, bare)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && claim.ID != bare:
		return nil
	case err != nil:
		return classify(err)
	}
	return fmt.Errorf("%w: snapshot name %.128q: it is the id of a snapshot", sandbox.ErrInvalid, name)
}

// snapshotName is what a snapshot can be called; with "/" for a name space and ":"
// for a tag.
var snapshotName = regexp.MustCompile(`^[a-z0-9][a-z0-9._/:-]{0,127}$`)

// capture claims the state of a sandbox as it is: it saves a running one, and
// shares the files of a paused one. change completes the claim.
func (r *Runtime) capture(ctx context.Context, id string, change func(*store.Snapshot)) (store.Snapshot, error) {
	sb, err := r.serving(ctx, id)
	if err != nil {
		return store.Snapshot{}, err
	}
	if err := sb.lockSettled(ctx); err != nil {
		return store.Snapshot{}, err
	}
	return await(ctx, r, func() (store.Snapshot, error) {
		defer sb.life.unlock()
		return r.captureLocked(ctx, sb, change)
	})
}

// captureLocked is capture by a caller that has sb.life.
func (r *Runtime) captureLocked(ctx context.Context, sb *handle, change func(*store.Snapshot)) (claim store.Snapshot, err error) {
	row := sb.snapshot()
	switch s := sb.state(); s {
	case sandbox.StatePaused:
		claim, err := r.share(ctx, row, change)
		return claim, classify(err)
	case sandbox.StateRunning:
	default:
		return claim, stateError(sb, s)
	}
	if err := r.roomForSnapshot(); err != nil {
		return claim, err
	}
	ctx, end := r.holding(sb, snapshotTimeout)
	defer end()
	claim = r.newClaim(row, kindSnapshot)
	change(&claim)
	defer r.own(claim.ID)()
	return claim, classifySave(sb.id, brokenOff(ctx, r.save(ctx, &claim)))
}

// save takes the snapshot of a running sandbox that a claim is for. The caller
// holds the sandbox's life.
func (r *Runtime) save(ctx context.Context, claim *store.Snapshot) (err error) {
	ctx, done := r.stage(ctx, latency.SnapshotSave, slog.String("sandbox", claim.VMID), slog.String("kind", claim.Kind))
	defer func() { done(err) }()
	name := claim.Name
	claim.Name = "" // It moves when there is something to move to.
	defer func() {
		if err != nil {
			ctx, cancel := detached(ctx)
			defer cancel()
			if undo := r.drop(ctx, claim.ID); undo != nil {
				r.log.Warn("could not remove what a failed snapshot saved", "snapshot", claim.ID, "error", undo)
			}
		}
	}()
	if err := r.claim(ctx, *claim); err != nil {
		return err
	}
	if err := r.cfg.Store.CopyEnvironment(ctx, claim.ID, claim.VMID); err != nil {
		return err
	}
	if err := r.at(StepSnapshotIntent); err != nil {
		return err
	}
	if err := r.cfg.Driver.Snapshot(ctx, claim.VMID, claim.Snapshot); err != nil {
		return err
	}
	if err := r.at(StepSnapshotSaved); err != nil {
		return err
	}
	claim.Name = name
	if err := r.saved(ctx, claim); err != nil {
		return err
	}
	_ = r.at(StepSnapshotOutcome)
	if claim.Kind != kindFork {
		r.seal(*claim)
	}
	return nil
}

// share makes another claim on what a paused sandbox resumes from.
func (r *Runtime) share(ctx context.Context, row store.Sandbox, change func(*store.Snapshot)) (store.Snapshot, error) {
	claim, err := r.cfg.Store.Snapshot(ctx, row.SnapshotID)
	if err != nil {
		return claim, err
	}
	filesystem := claim.Kind == kindFilesystemPause
	sealed := claim.Manifest
	claim.ID, claim.CreatedAt = newID()[1:], time.Now()
	change(&claim)
	if filesystem {
		return claim, fmt.Errorf("%w: it was paused without its memory; resume it first", sandbox.ErrUnsupported)
	}
	claim.Manifest = ""
	if sealed != "" {
		if claim.Kind == kindFork {
			claim.Manifest = sealed // It is of no kind that is sealed, and is gone in a moment.
		} else if claim.Manifest, err = resealed(sealed, claim); err != nil {
			return claim, err
		}
	}
	defer r.own(claim.ID)()
	if err := r.publish(ctx, &claim, row.ID); err != nil {
		return claim, err
	}
	if sealed == "" && claim.Kind != kindFork {
		r.seal(claim)
	}
	return claim, nil
}

// publish writes a claim on what is saved already, with the environment of a
// sandbox. A name moves, and others see it, when all of it is there.
func (r *Runtime) publish(ctx context.Context, claim *store.Snapshot, of string) (err error) {
	whole := *claim
	claim.State, claim.Name = store.SnapshotSaving, ""
	if err := r.claim(ctx, *claim); err != nil {
		return err
	}
	if err = r.cfg.Store.CopyEnvironment(ctx, claim.ID, of); err == nil {
		*claim = whole
		err = r.cfg.Store.PutSnapshot(ctx, *claim)
	}
	if err != nil {
		ctx, cancel := detached(ctx)
		defer cancel()
		err = errors.Join(err, r.drop(ctx, claim.ID))
	}
	return err
}

// drop gives up a claim, and removes the driver's snapshot with the last one. A
// claim that is not there is no error.
func (r *Runtime) drop(ctx context.Context, id string) error {
	claim, err := r.cfg.Store.Snapshot(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	last, err := r.cfg.Store.DropSnapshot(ctx, claim.ID)
	if err != nil || !last {
		return err
	}
	if err := r.at(StepSnapshotDropped); err != nil {
		return err
	}
	if err := r.deleteFiles(ctx, claim.VMID, claim.Snapshot); err != nil {
		return err
	}
	r.verify.forget(string(artifact(claim.VMID, claim.Snapshot)))
	_ = r.at(StepSnapshotDeleted)
	return nil
}

func (r *Runtime) deleteFiles(ctx context.Context, vmID, name string) error {
	if deleter, ok := r.cfg.Driver.(vm.SnapshotDeleter); ok {
		return deleter.DeleteSnapshot(ctx, vmID, name)
	}
	return nil
}

// listed finds a complete snapshot of a kind by id or name.
func (r *Runtime) listed(ctx context.Context, idOrName, kind string) (store.Snapshot, error) {
	claim, err := r.cfg.Store.Snapshot(ctx, idOrName)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return claim, classify(err)
	}
	if err != nil || claim.Kind != kind || claim.State != store.SnapshotReady {
		return claim, fmt.Errorf("snapshot %.128q: %w", idOrName, sandbox.ErrSnapshotNotFound)
	}
	return claim, nil
}

// DeleteSnapshot removes a snapshot or continuation by id, or a snapshot by
// name. Sandboxes made from it run on.
func (r *Runtime) DeleteSnapshot(ctx context.Context, idOrName string) error {
	claim, err := r.listed(ctx, idOrName, kindSnapshot)
	if errors.Is(err, sandbox.ErrSnapshotNotFound) {
		claim, err = r.listed(ctx, idOrName, kindContinuation)
	}
	if err != nil {
		return err
	}
	return classify(r.drop(ctx, claim.ID))
}

// Snapshots returns the snapshots that match, the newest first.
func (r *Runtime) Snapshots(ctx context.Context, f sandbox.SnapshotFilter) ([]sandbox.Snapshot, error) {
	page := store.Page{Kind: kindSnapshot, Source: f.SandboxID, Name: f.Name, AllTags: f.AllTags, Limit: f.Limit}
	if f.After != nil {
		page.AfterTime, page.AfterID = f.After.StartedAt, f.After.ID
	}
	rows, err := r.cfg.Store.SnapshotPage(ctx, page)
	if err != nil {
		return nil, classify(err)
	}
	out := make([]sandbox.Snapshot, len(rows))
	for i, row := range rows {
		out[i] = viewSnapshot(row)
	}
	return out, nil
}

// counted bounds what clients save and delete themselves: see Shares.
func (r *Runtime) counted() store.Counted {
	s := r.cfg.Shares
	return store.Counted{Kinds: []string{kindSnapshot, kindContinuation}, Most: s.Snapshots, MostOfAKey: s.SnapshotsPerKey}
}

// claim writes a claim that is new.
func (r *Runtime) claim(ctx context.Context, n store.Snapshot) error {
	if n.Kind != kindSnapshot && n.Kind != kindContinuation {
		return r.cfg.Store.PutSnapshot(ctx, n)
	}
	err := r.cfg.Store.AddSnapshot(ctx, n, r.counted())
	var full *store.BoundError
	if !errors.As(err, &full) {
		return err
	}
	if full.OfKey {
		return shareError("this key has %d snapshots and may have no more: delete some of them", full.Have)
	}
	return shareError("this machine has %d snapshots and takes no more: delete some of them", full.Have)
}

func viewSnapshot(row store.Snapshot) sandbox.Snapshot {
	return sandbox.Snapshot{ID: row.ID, Name: row.Name, SandboxID: row.Source, CreatedAt: row.CreatedAt, Bytes: row.Bytes, KeyID: row.KeyID}
}
