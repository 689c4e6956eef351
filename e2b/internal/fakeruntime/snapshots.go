package fakeruntime

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rundlet/rundlet/runtime"
)

// snapshot is one, or a continuation, which has a reason.
type snapshot struct {
	runtime.Snapshot
	reason runtime.ContinuationReason
}

// find returns the index of a snapshot, or of a continuation; -1 if there is
// none. The caller holds mu.
func (f *Runtime) find(idOrName string, continuation bool) int {
	return slices.IndexFunc(f.snapshots, func(s snapshot) bool {
		return s.ID != "" && (s.reason != "") == continuation && idOrName != "" && (s.ID == idOrName || s.Name == idOrName)
	})
}

// live returns a sandbox that is running or paused. The caller holds mu.
func (f *Runtime) live(id string) (*sandbox, error) {
	sb := f.sandboxes[id]
	switch {
	case sb == nil:
		return nil, fmt.Errorf("save %s: %w", id, runtime.ErrSandboxNotFound)
	case sb.State != runtime.StateRunning && sb.State != runtime.StatePaused:
		return nil, fmt.Errorf("save %s: %w", id, runtime.ErrConflict)
	}
	return sb, nil
}

// save keeps a snapshot. The caller holds mu.
func (f *Runtime) save(sandboxID, name, keyID string, reason runtime.ContinuationReason) snapshot {
	n := len(f.snapshots)
	s := snapshot{reason: reason, Snapshot: runtime.Snapshot{
		ID: fmt.Sprintf("snap%016d", n), Name: name, SandboxID: sandboxID, KeyID: keyID,
		CreatedAt: Epoch.Add(time.Duration(n) * time.Minute), Bytes: 4096,
	}}
	if at := f.find(name, false); at >= 0 {
		f.snapshots[at].Name = ""
	}
	f.snapshots = append(f.snapshots, s)
	return s
}

// Snapshot implements e2b.RuntimeAdapter.
func (f *Runtime) Snapshot(_ context.Context, id, name, keyID string) (runtime.Snapshot, error) {
	if err := f.failure(); err != nil {
		return runtime.Snapshot{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.live(id); err != nil {
		return runtime.Snapshot{}, err
	}
	return f.save(id, name, keyID, "").Snapshot, nil
}

// Snapshots implements e2b.RuntimeAdapter.
func (f *Runtime) Snapshots(_ context.Context, q runtime.SnapshotFilter) ([]runtime.Snapshot, error) {
	if err := f.failure(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	order := func(a, b runtime.Snapshot) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
	}
	var found []runtime.Snapshot
	for _, s := range f.snapshots {
		after := q.After == nil || order(s.Snapshot, runtime.Snapshot{ID: q.After.ID, CreatedAt: q.After.StartedAt}) > 0
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
	at := max(f.find(idOrName, false), f.find(idOrName, true))
	if at < 0 {
		return fmt.Errorf("delete %s: %w", idOrName, runtime.ErrSnapshotNotFound)
	}
	// In place: the count makes the ids.
	f.snapshots[at] = snapshot{}
	return nil
}

// Fork implements e2b.RuntimeAdapter. Children in excess of Room fail.
func (f *Runtime) Fork(_ context.Context, id string, req runtime.ForkRequest) ([]runtime.ForkResult, error) {
	if err := f.failure(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	sb, err := f.live(id)
	if err != nil {
		return nil, err
	}
	results := make([]runtime.ForkResult, req.Count)
	for i := range results {
		if f.Room > 0 && len(f.sandboxes) >= f.Room {
			results[i].Err = &runtime.CapacityError{Resource: "memory", Requested: 512, Available: 100, RetryAfter: time.Second}
			continue
		}
		results[i].Sandbox = f.create(runtime.CreateRequest{
			Template: sb.Alias, Timeout: req.Timeout, KeyID: req.KeyID, Secure: sb.EnvdAccessToken != "", Metadata: sb.Metadata,
		})
	}
	return results, nil
}

// Capture implements e2b.RuntimeAdapter.
func (f *Runtime) Capture(_ context.Context, id string, reason runtime.ContinuationReason, keyID string) (runtime.Continuation, error) {
	if err := f.failure(); err != nil {
		return runtime.Continuation{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	sb, err := f.live(id)
	if err != nil {
		return runtime.Continuation{}, err
	}
	if (sb.State == runtime.StatePaused) != (reason == runtime.ReasonStopped) {
		return runtime.Continuation{}, fmt.Errorf("capture %s: %w: it is %s", id, runtime.ErrConflict, sb.State)
	}
	return f.save(id, "", keyID, reason).continuation(), nil
}

func (s snapshot) continuation() runtime.Continuation {
	return runtime.Continuation{ID: s.ID, SandboxID: s.SandboxID, Reason: s.reason, CreatedAt: s.CreatedAt, Bytes: s.Bytes}
}

// FollowUp implements e2b.RuntimeAdapter.
func (f *Runtime) FollowUp(_ context.Context, continuationID string, req runtime.CreateRequest) (runtime.Sandbox, error) {
	if err := f.failure(); err != nil {
		return runtime.Sandbox{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, req)
	at := f.find(continuationID, true)
	if at < 0 {
		return runtime.Sandbox{}, fmt.Errorf("follow up on %s: %w", continuationID, runtime.ErrSnapshotNotFound)
	}
	c := f.snapshots[at].continuation()
	sb := f.create(req)
	sb.FollowsUp = &c
	f.sandboxes[sb.ID].FollowsUp = &c
	return sb, nil
}
