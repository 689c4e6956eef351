package fakeruntime

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rundlet/rundlet/sandbox"
)

// snapshot is one, or a continuation, which has a reason.
type snapshot struct {
	sandbox.Snapshot
	reason sandbox.ContinuationReason
}

// snapshots are all that were saved, the oldest first. One that was deleted leaves its
// place blank, because their number makes the ids. They are guarded by Runtime.mu.
type snapshots []snapshot

// find returns the index of a snapshot, or of a continuation; -1 if there is
// none.
func (all snapshots) find(idOrName string, continuation bool) int {
	return slices.IndexFunc(all, func(s snapshot) bool {
		return s.ID != "" && (s.reason != "") == continuation && idOrName != "" && (s.ID == idOrName || s.Name == idOrName)
	})
}

// save keeps a snapshot.
func (all *snapshots) save(sandboxID, name, keyID string, reason sandbox.ContinuationReason) snapshot {
	n := len(*all)
	s := snapshot{reason: reason, Snapshot: sandbox.Snapshot{
		ID: fmt.Sprintf("snap%016d", n), Name: name, SandboxID: sandboxID, KeyID: keyID,
		CreatedAt: Epoch.Add(time.Duration(n) * time.Minute), Bytes: 4096,
	}}
	if at := all.find(name, false); at >= 0 {
		(*all)[at].Name = ""
	}
	*all = append(*all, s)
	return s
}

// live returns a sandbox that is running or paused. The caller holds mu.
func (f *Runtime) live(id string) (*entry, error) {
	sb := f.sandboxes[id]
	switch {
	case sb == nil:
		return nil, fmt.Errorf("save %s: %w", id, sandbox.ErrNotFound)
	case sb.State != sandbox.StateRunning && sb.State != sandbox.StatePaused:
		return nil, fmt.Errorf("save %s: %w", id, sandbox.ErrConflict)
	}
	return sb, nil
}

// Snapshot implements e2b.RuntimeAdapter.
func (f *Runtime) Snapshot(_ context.Context, id, name, keyID string) (sandbox.Snapshot, error) {
	if err := f.failure(); err != nil {
		return sandbox.Snapshot{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.live(id); err != nil {
		return sandbox.Snapshot{}, err
	}
	return f.snapshots.save(id, name, keyID, "").Snapshot, nil
}

// Snapshots implements e2b.RuntimeAdapter.
func (f *Runtime) Snapshots(_ context.Context, q sandbox.SnapshotFilter) ([]sandbox.Snapshot, error) {
	if err := f.failure(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	order := func(a, b sandbox.Snapshot) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
	}
	var found []sandbox.Snapshot
	for _, s := range f.snapshots {
		after := q.After == nil || order(s.Snapshot, sandbox.Snapshot{ID: q.After.ID, CreatedAt: q.After.StartedAt}) > 0
		if s.ID != "" && s.reason == "" && after && (q.SandboxID == "" || q.SandboxID == s.SandboxID) &&
			(q.Name == "" || q.Name == s.Name || q.Name == s.ID || q.AllTags && strings.HasPrefix(s.Name, q.Name+":")) {
			found = append(found, s.Snapshot)
		}
	}
	slices.SortFunc(found, order)
	if q.Limit > 0 && len(found) > q.Limit {
		found = found[:q.Limit]
	}
	return found, nil
}

// DeleteSnapshot implements e2b.RuntimeAdapter; it deletes continuations too.
func (f *Runtime) DeleteSnapshot(_ context.Context, idOrName string) error {
	if err := f.failure(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	at := max(f.snapshots.find(idOrName, false), f.snapshots.find(idOrName, true))
	if at < 0 {
		return fmt.Errorf("delete %s: %w", idOrName, sandbox.ErrSnapshotNotFound)
	}
	f.snapshots[at] = snapshot{}
	return nil
}

// Fork implements e2b.RuntimeAdapter. Children in excess of Room fail.
func (f *Runtime) Fork(_ context.Context, id string, req sandbox.ForkRequest) ([]sandbox.ForkResult, error) {
	if err := f.failure(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	sb, err := f.live(id)
	if err != nil {
		return nil, err
	}
	results := make([]sandbox.ForkResult, req.Count)
	for i := range results {
		if f.Room > 0 && len(f.sandboxes) >= f.Room {
			results[i].Err = &sandbox.CapacityError{Resource: "memory", Requested: 512, Available: 100, RetryAfter: time.Second}
			continue
		}
		results[i].Sandbox = f.create(sandbox.CreateRequest{
			Template: sb.Alias, Timeout: req.Timeout, KeyID: req.KeyID, Secure: sb.EnvdAccessToken != "", Metadata: sb.Metadata,
		})
	}
	return results, nil
}

// Capture implements e2b.RuntimeAdapter.
func (f *Runtime) Capture(_ context.Context, id string, reason sandbox.ContinuationReason, keyID string) (sandbox.Continuation, error) {
	if err := f.failure(); err != nil {
		return sandbox.Continuation{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	sb, err := f.live(id)
	if err != nil {
		return sandbox.Continuation{}, err
	}
	if (sb.State == sandbox.StatePaused) != (reason == sandbox.ReasonStopped) {
		return sandbox.Continuation{}, fmt.Errorf("capture %s: %w: it is %s", id, sandbox.ErrConflict, sb.State)
	}
	return f.snapshots.save(id, "", keyID, reason).continuation(), nil
}

func (s snapshot) continuation() sandbox.Continuation {
	return sandbox.Continuation{ID: s.ID, SandboxID: s.SandboxID, Reason: s.reason, CreatedAt: s.CreatedAt, Bytes: s.Bytes}
}

// FollowUp implements e2b.RuntimeAdapter.
func (f *Runtime) FollowUp(_ context.Context, continuationID string, req sandbox.CreateRequest) (sandbox.Sandbox, error) {
	if err := f.failure(); err != nil {
		return sandbox.Sandbox{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, req)
	at := f.snapshots.find(continuationID, true)
	if at < 0 {
		return sandbox.Sandbox{}, fmt.Errorf("follow up on %s: %w", continuationID, sandbox.ErrSnapshotNotFound)
	}
	c := f.snapshots[at].continuation()
	sb := f.create(req)
	sb.FollowsUp = &c
	f.sandboxes[sb.ID].FollowsUp = &c
	return sb, nil
}
