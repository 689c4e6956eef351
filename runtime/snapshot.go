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
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// snapshotTimeout bounds the saving of a sandbox that goes on running.
const snapshotTimeout = 5 * time.Minute

// saver saves a machine under a name.
type saver func(ctx context.Context, id, name string) error

// saver returns how the driver saves for a kind.
func (r *Runtime) saver(kind string) (saver, error) {
	if kind != claim.KindFilesystemPause {
		return r.cfg.Driver.Snapshot, nil
	}
	fs, ok := r.cfg.Driver.(vm.FilesystemSnapshotter)
	if !ok {
		return nil, fmt.Errorf("%w: driver %s cannot save the file system alone", sandbox.ErrUnsupported, r.cfg.Driver.Info().Driver)
	}
	return fs.SnapshotFilesystem, nil
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
	snap, err := r.capture(ctx, id, func(snap *store.Snapshot) {
		snap.Kind, snap.Name, snap.KeyID = claim.KindSnapshot, name, keyID
	})
	if err != nil {
		return sandbox.Snapshot{}, fmt.Errorf("snapshot sandbox %s: %w", id, err)
	}
	return viewSnapshot(snap), nil
}

// nameIsNoID refuses the id of a snapshot as the name of another, which no one
// would find by it.
func (r *Runtime) nameIsNoID(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	bare, _, _ := strings.Cut(name, ":")
	snap, err := r.cfg.Store.Snapshot(ctx, bare)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && snap.ID != bare:
		return nil
	case err != nil:
		return fault.Classify(err)
	}
	return fmt.Errorf("%w: snapshot name %.128q: it is the id of a snapshot", sandbox.ErrInvalid, name)
}

// snapshotName is what a snapshot can be called; with "/" for a name space and ":"
// for a tag.
var snapshotName = regexp.MustCompile(`^[a-z0-9][a-z0-9._/:-]{0,127}$`)

// capture claims the state of a sandbox as it is: it saves a running one, and
// shares the files of a paused one. change completes the claim.
func (r *Runtime) capture(ctx context.Context, id string, change func(*store.Snapshot)) (store.Snapshot, error) {
	sb, err := r.live.Serving(ctx, id)
	if err != nil {
		return store.Snapshot{}, err
	}
	if err := sb.LockSettled(ctx); err != nil {
		return store.Snapshot{}, err
	}
	return await(ctx, r, func() (store.Snapshot, error) {
		defer sb.Life.Unlock()
		return r.captureLocked(ctx, sb, change)
	})
}

// captureLocked is capture by a caller that has sb.Life.
func (r *Runtime) captureLocked(ctx context.Context, sb *live.Sandbox, change func(*store.Snapshot)) (snap store.Snapshot, err error) {
	row := sb.Row()
	switch s := sb.State(); s {
	case sandbox.StatePaused:
		snap, err := r.share(ctx, row, change)
		return snap, fault.Classify(err)
	case sandbox.StateRunning:
	default:
		return snap, stateError(sb, s)
	}
	if err := r.admission.CheckSnapshot(); err != nil {
		return snap, err
	}
	ctx, end := r.holding(sb, snapshotTimeout)
	defer end()
	snap = r.claims.Claim(row, claim.KindSnapshot)
	change(&snap)
	defer r.held.Hold(snap.ID)()
	return snap, fault.ClassifySave(sb.ID, live.BrokenOff(ctx, r.save(ctx, &snap)))
}

// save takes the snapshot of a running sandbox that a claim is for. The caller
// holds the sandbox's life.
func (r *Runtime) save(ctx context.Context, snap *store.Snapshot) (err error) {
	ctx, done := r.steps.Stage(ctx, latency.SnapshotSave, slog.String("sandbox", snap.VMID), slog.String("kind", snap.Kind))
	defer func() { done(err) }()
	name := snap.Name
	snap.Name = "" // It moves when there is something to move to.
	defer func() {
		if err != nil {
			ctx, cancel := background.Detached(ctx)
			defer cancel()
			if undo := r.claims.Drop(ctx, snap.ID); undo != nil {
				r.log.Warn("could not remove the files of a failed snapshot", "snapshot_id", snap.ID, "error", undo)
			}
		}
	}()
	if err := r.claims.Add(ctx, snap); err != nil {
		return err
	}
	if err := r.cfg.Store.CopyEnvironment(ctx, snap.ID, snap.VMID); err != nil {
		return err
	}
	if err := r.steps.At(step.SnapshotIntent); err != nil {
		return err
	}
	if err := r.cfg.Driver.Snapshot(ctx, snap.VMID, snap.Snapshot); err != nil {
		return err
	}
	if err := r.steps.At(step.SnapshotSaved); err != nil {
		return err
	}
	snap.Name = name
	if err := r.claims.Saved(ctx, snap); err != nil {
		return err
	}
	_ = r.steps.At(step.SnapshotOutcome)
	if snap.Kind != claim.KindFork {
		r.claims.Seal(*snap)
	}
	return nil
}

// share makes another claim on what a paused sandbox resumes from.
func (r *Runtime) share(ctx context.Context, row store.Sandbox, change func(*store.Snapshot)) (store.Snapshot, error) {
	snap, err := r.cfg.Store.Snapshot(ctx, row.SnapshotID)
	if err != nil {
		return snap, err
	}
	filesystem := snap.Kind == claim.KindFilesystemPause
	sealed := snap.Manifest
	snap.ID, snap.CreatedAt, snap.Version = sandbox.NewID()[1:], time.Now(), 0
	change(&snap)
	if filesystem {
		return snap, fmt.Errorf("%w: it was paused without its memory; resume it first", sandbox.ErrUnsupported)
	}
	snap.Manifest = ""
	if sealed != "" {
		if snap.Kind == claim.KindFork {
			snap.Manifest = sealed // It is of no kind that is sealed, and is gone in a moment.
		} else if snap.Manifest, err = claim.Resealed(sealed, snap); err != nil {
			return snap, err
		}
	}
	defer r.held.Hold(snap.ID)()
	if err := r.claims.Publish(ctx, &snap, row.ID); err != nil {
		return snap, err
	}
	if sealed == "" && snap.Kind != claim.KindFork {
		r.claims.Seal(snap)
	}
	return snap, nil
}

// DeleteSnapshot removes a snapshot or continuation by id, or a snapshot by
// name. Sandboxes made from it run on.
func (r *Runtime) DeleteSnapshot(ctx context.Context, idOrName string) error {
	snap, err := r.claims.Find(ctx, idOrName, claim.KindSnapshot)
	if errors.Is(err, sandbox.ErrSnapshotNotFound) {
		snap, err = r.claims.Find(ctx, idOrName, claim.KindContinuation)
	}
	if err != nil {
		return err
	}
	return fault.Classify(r.claims.Drop(ctx, snap.ID))
}

// Snapshots returns the snapshots that match, the newest first.
func (r *Runtime) Snapshots(ctx context.Context, f sandbox.SnapshotFilter) ([]sandbox.Snapshot, error) {
	page := store.Page{Kind: claim.KindSnapshot, Source: f.SandboxID, Name: f.Name, AllTags: f.AllTags, Limit: f.Limit}
	if f.After != nil {
		page.AfterTime, page.AfterID = f.After.StartedAt, f.After.ID
	}
	rows, err := r.cfg.Store.SnapshotPage(ctx, page)
	if err != nil {
		return nil, fault.Classify(err)
	}
	out := make([]sandbox.Snapshot, len(rows))
	for i, row := range rows {
		out[i] = viewSnapshot(row)
	}
	return out, nil
}

func viewSnapshot(row store.Snapshot) sandbox.Snapshot {
	return sandbox.Snapshot{ID: row.ID, Name: row.Name, SandboxID: row.Source, CreatedAt: row.CreatedAt, Bytes: row.Bytes, KeyID: row.KeyID}
}
