package runtime

import (
	"encoding/json"
	"maps"
	"sync"
	"time"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/runtime/admission"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// sandbox is the runtime's handle of one sandbox that is not killed.
type handle struct {
	id string
	// elsewhere is why nothing may be done with the sandbox, or nil: its row is of
	// another node or driver. It is constant.
	elsewhere error
	// place is set when the sandbox becomes known, and constant then.
	place *admission.Place
	// life serialises lifecycle calls; it is held across driver calls.
	life *lock
	// reservation is set before the machine is made and given back after it is
	// gone. Guarded by life.
	reservation *capacity.Reservation

	mu    sync.Mutex // guards what follows; never held across a call
	row   store.Sandbox
	timer *time.Timer // fires at row.EndAt; nil when not armed
	// restored is when the restore began; zero once its first output was seen.
	restored time.Time
	// run counts the machines that the sandbox had.
	run int
	// roster has the sandbox, at a place; nil if none has it.
	roster *roster
	at     *sandbox.Cursor
	// doom is why the sandbox ends, whatever its state; see condemn.
	doom string
	// insisting: a kill that could not be done at once goes on in the background.
	insisting bool
	// retried: its end is retried in the background; see firstRetry.
	retried bool
	// operations end what is under way; see operation.
	operations map[*operation]struct{}
	// resuming is the resume under way, or nil.
	resuming *flight
	// backoff delays a resume by traffic after one that failed.
	backoff backoff
	// recovering is why clients cannot have the sandbox yet, and recovered is
	// closed when they can; see serving.
	recovering string
	recovered  chan struct{}
	// pauses counts the pauses that were finished.
	pauses int
	// forgetting: a resume leaves the memory out; see Reboot.
	forgetting bool
}

func newHandle(row store.Sandbox) *handle {
	return &handle{id: row.ID, life: newLock(), row: row, operations: map[*operation]struct{}{}}
}

// snapshot returns a copy of the row.
func (sb *handle) snapshot() store.Sandbox {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	row := sb.row
	row.Metadata = maps.Clone(row.Metadata)
	return row
}

// update changes the row and returns the new one.
func (sb *handle) update(change func(*store.Sandbox)) store.Sandbox {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	change(&sb.row)
	sb.updateRoster()
	return sb.row
}

// state is the state that others see. A condemned sandbox is being killed, even
// while the call that a kill breaks off still has it.
func (sb *handle) state() sandbox.State {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.stateLocked()
}

// stateLocked is state for a caller that has sb.mu.
func (sb *handle) stateLocked() sandbox.State {
	if sb.doom != "" && sb.row.State != sandbox.StateKilled {
		return sandbox.StateKilling
	}
	return sb.row.State
}

// recorded is the state of the row.
func (sb *handle) recorded() sandbox.State {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.row.State
}

// arm sets the timer for the timeout, but not before the pause has passed.
func (sb *handle) arm(pause time.Duration, expire func()) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.timer != nil {
		sb.timer.Stop()
	}
	sb.timer = time.AfterFunc(max(pause, time.Until(sb.row.EndAt)), expire)
}

func (sb *handle) disarm() {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.timer != nil {
		sb.timer.Stop()
		sb.timer = nil
	}
}

// view is the row as others see it.
func (r *Runtime) view(row store.Sandbox) sandbox.Sandbox {
	sb := sandbox.Sandbox{
		ID: row.ID, TemplateID: row.TemplateID, Alias: row.Alias, State: row.State, Reason: row.Reason,
		Metadata: row.Metadata, StartedAt: row.StartedAt, EndAt: row.EndAt, KilledAt: row.KilledAt,
		VCPUs: row.VCPUs, MemoryMiB: row.MemoryMiB, DiskMiB: row.DiskMiB,
		EnvdVersion: envd.Version, AllowInternet: row.AllowInternet, KeyID: row.KeyID,
		OnTimeout: sandbox.OnTimeout(row.OnTimeout), AutoResume: row.AutoResume,
		FilesystemOnly: row.SnapshotID != "" && row.FilesystemOnly,
	}
	if row.FollowsUp != "" {
		var c sandbox.Continuation
		if json.Unmarshal([]byte(row.FollowsUp), &c) == nil {
			sb.FollowsUp = &c
		}
	}
	if row.Secure {
		sb.EnvdAccessToken = r.tokens.Envd(row.ID)
	}
	if row.PrivatePorts {
		sb.TrafficAccessToken = r.tokens.Traffic(row.ID)
	}
	return sb
}
