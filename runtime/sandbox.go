package runtime

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/rundlet/rundlet/agent/control"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/substrate/capacity"
)

// sandbox is the runtime's handle of one sandbox that is not killed.
type sandbox struct {
	id string
	// life serialises lifecycle calls; it is held across driver calls.
	life lock
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
	// operations end what is under way; see operation.
	operations map[*operation]struct{}
	// resuming is the resume under way, or nil.
	resuming *flight
	// forgetting: a resume leaves the memory out; see Reboot.
	forgetting bool
	// beat is the last sign of life.
	beat  beat
	usage usage
}

func newSandbox(row store.Sandbox) *sandbox {
	return &sandbox{id: row.ID, life: newLock(), row: row, operations: map[*operation]struct{}{}}
}

// lock is a mutex whose waiters can give up.
type lock chan struct{}

func newLock() lock { return make(lock, 1) }

// lock takes the lock, or fails when the context ends first.
func (l lock) lock(ctx context.Context) error {
	select {
	case l <- struct{}{}:
		return nil
	default:
	}
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l lock) unlock() { <-l }

// held reports whether somebody has the lock at this moment.
func (l lock) held() bool { return len(l) > 0 }

// operation is a lifecycle call under way, or about to be: what it waits for can
// be broken off.
type operation struct {
	cancel context.CancelCauseFunc
}

// errInterrupted is the cause of the end of an operation's context when the
// sandbox is to be killed: that need not wait for a resume in the queue or a
// pause that writes much.
var errInterrupted = fmt.Errorf("%w any more: it is being killed", ErrSandboxNotFound)

// operation returns a context for a lifecycle call that ends with the deadline,
// when the runtime closes, and when the sandbox is killed; not when the caller
// goes away: a client that hangs up changes its mind by another call.
func (r *Runtime) operation(sb *sandbox, deadline time.Duration) (context.Context, func()) {
	ctx, stop := context.WithTimeout(r.life, deadline)
	ctx, cancel := context.WithCancelCause(ctx)
	op := &operation{cancel}
	sb.mu.Lock()
	sb.operations[op] = struct{}{}
	sb.mu.Unlock()
	return ctx, func() {
		sb.mu.Lock()
		delete(sb.operations, op)
		sb.mu.Unlock()
		cancel(nil)
		stop()
	}
}

// errStuck is the cause when an operation did not keep the deadline of its state.
var errStuck = errors.New("it took too long")

// interrupt breaks off the operations under way: the sandbox is to be killed.
func (sb *sandbox) interrupt() { sb.breakOff(errInterrupted) }

func (sb *sandbox) breakOff(cause error) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	for op := range sb.operations {
		op.cancel(cause)
	}
}

// brokenOff says why an operation with this context failed, if it was broken
// off. That its context ended is no news of the client, and not told.
func brokenOff(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if err == nil || !errors.Is(cause, errInterrupted) && !errors.Is(cause, errStuck) {
		return err
	}
	return fmt.Errorf("%w: %v", cause, err)
}

// snapshot returns a copy of the row.
func (sb *sandbox) snapshot() store.Sandbox {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	row := sb.row
	row.Metadata = maps.Clone(row.Metadata)
	return row
}

// update changes the row and returns the new one.
func (sb *sandbox) update(change func(*store.Sandbox)) store.Sandbox {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	change(&sb.row)
	return sb.row
}

func (sb *sandbox) state() State {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return State(sb.row.State)
}

// arm sets the timer for the time-out, but not before the pause has passed.
func (sb *sandbox) arm(pause time.Duration, expire func()) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.timer != nil {
		sb.timer.Stop()
	}
	sb.timer = time.AfterFunc(max(pause, time.Until(sb.row.EndAt)), expire)
}

func (sb *sandbox) disarm() {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.timer != nil {
		sb.timer.Stop()
		sb.timer = nil
	}
}

// view is the row as others see it.
func (r *Runtime) view(row store.Sandbox) Sandbox {
	sb := Sandbox{
		ID: row.ID, TemplateID: row.TemplateID, Alias: row.Alias, State: State(row.State), Reason: row.Reason,
		Metadata: row.Metadata, StartedAt: row.StartedAt, EndAt: row.EndAt, KilledAt: row.KilledAt,
		VCPUs: row.VCPUs, MemoryMiB: row.MemoryMiB, DiskMiB: row.DiskMiB,
		EnvdVersion: control.EnvdVersion, AllowInternet: row.AllowInternet, KeyID: row.KeyID,
		OnTimeout: OnTimeout(row.OnTimeout), AutoResume: row.AutoResume,
		FilesystemOnly: row.SnapshotID != "" && row.FilesystemOnly,
	}
	if row.FollowsUp != "" {
		var c Continuation
		if json.Unmarshal([]byte(row.FollowsUp), &c) == nil {
			sb.FollowsUp = &c
		}
	}
	if row.Secure {
		sb.EnvdAccessToken = r.token("envd", row.ID)
	}
	if row.PrivatePorts {
		sb.TrafficAccessToken = r.token("traffic", row.ID)
	}
	return sb
}

// token derives a sandbox's secret for one purpose from the node's secret, so
// that it is the same after a restart or a resume and is stored nowhere.
func (r *Runtime) token(purpose, id string) string {
	h := hmac.New(sha256.New, r.secret)
	h.Write([]byte(purpose + ":" + id))
	return hex.EncodeToString(h.Sum(nil))
}

// newID returns "i" and 20 random characters of [a-z0-9] (103 bits).
func newID() string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	id := make([]byte, 0, 21)
	id = append(id, 'i')
	var buf [32]byte
	for len(id) < 21 {
		rand.Read(buf[:])
		for _, b := range buf {
			// 252 is the largest multiple of 36 in a byte: no character is
			// likelier than another.
			if b < 252 && len(id) < 21 {
				id = append(id, alphabet[b%36])
			}
		}
	}
	return string(id)
}
