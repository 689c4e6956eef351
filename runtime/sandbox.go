package runtime

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"sync"
	"time"

	"github.com/rundlet/rundlet/agent/control"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/substrate/capacity"
)

// sandbox is the runtime's handle of one live sandbox.
type sandbox struct {
	id string
	// life serialises lifecycle calls; it is held across driver calls.
	life sync.Mutex
	// reservation is set before the machine is made and given back after it is
	// gone. Guarded by life.
	reservation *capacity.Reservation

	mu    sync.Mutex // guards what follows; never held across a call
	row   store.Sandbox
	timer *time.Timer // fires at row.EndAt; nil when not armed
	// restored is when the restore began; zero once its first output was seen.
	restored time.Time
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

// arm sets the timer for the time-out.
func (sb *sandbox) arm(expire func()) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.timer != nil {
		sb.timer.Stop()
	}
	sb.timer = time.AfterFunc(time.Until(sb.row.EndAt), expire)
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
