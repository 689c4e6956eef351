package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store/internal/database"
	"github.com/rundlet/rundlet/store/internal/table"
	"github.com/rundlet/rundlet/store/journal"
)

// Sandboxes is the table of sandboxes, of all instances and in all states.
type Sandboxes struct{ db *database.DB }

// Sandbox is a row of the sandboxes table. Times have microsecond precision.
type Sandbox struct {
	ID            string
	Instance      string // the daemon instance that owns it
	TemplateID    string
	Alias         string
	BuildID       string
	State         sandbox.State
	Reason        string
	Metadata      map[string]string
	CreatedAt     time.Time
	StartedAt     time.Time
	EndAt         time.Time
	KilledAt      time.Time
	VCPUs         int
	MemoryMiB     int
	DiskMiB       int
	Secure        bool
	PrivatePorts  bool
	AllowInternet *bool
	Egress        sandbox.Egress
	Ingress       sandbox.Ingress
	KeyID         string
	SlotID        string
	// Deadline is when a transitional state has to have ended.
	Deadline time.Time
	// SnapshotID is the snapshot that a paused sandbox resumes from.
	SnapshotID string
	// FilesystemOnly: there is no memory in that.
	FilesystemOnly bool
	// OriginID is the template or snapshot that it was made from.
	OriginID string
	// Spec is the driver's spec that it was made with, as JSON.
	Spec       string
	OnTimeout  sandbox.OnTimeout
	AutoResume bool
	// FollowsUp is the continuation that it was started from, as JSON.
	FollowsUp string
	// QuarantinedAt is when an operator became needed; Reason says why.
	QuarantinedAt time.Time
	// Timeout is the one that its create requested; 0: not known.
	Timeout time.Duration
	// Node is the id of the node that has it, and Driver the name of the driver that
	// made it.
	Node, Driver string
	// Request is the original create request, as JSON: see
	// sandbox.CreateRequest.Record. Empty: not known.
	Request string
	// Defaults are those of its template.
	Defaults sandbox.Defaults
	// Freshness is the gate of its checkout.
	Freshness sandbox.Freshness
	// Version is that of the row which this was read from; 0: it is not written yet.
	// Sandboxes.Put sets it.
	Version int64
}

// StateUnreadable is the state, not a known one, of a row whose parts in JSON cannot be read, whatever its column
// says. So it keeps no other row from being read, and no program that goes by states touches what the row names,
// or writes it.
const StateUnreadable sandbox.State = "unreadable"

const sandboxColumns = `id, instance, template_id, alias, build_id, state, reason, metadata, created_at, started_at, end_at,
	killed_at, vcpus, memory_mib, disk_mib, secure, private_ports, allow_internet, key_id, slot_id,
	deadline, snapshot_id, filesystem_only, origin_id, spec, on_timeout, auto_resume, follows_up, quarantined_at, timeout,
	node, driver, request, egress, ingress, defaults, freshness, version`

var addSandbox, changeSandbox = table.InsertAndUpdate("sandboxes", sandboxColumns)

// Put inserts the row, if its Version is 0, or changes it, if it still has
// the Version that sb was read with, and sets sb.Version to the new one. ErrStale:
// it has another, or is gone, and nothing was changed. The row is on the disk when
// Put returns, if something is saved of the sandbox, or was until now: a row
// that ends with the power needs no sync. The events are written with it, or not at all.
func (s Sandboxes) Put(ctx context.Context, sb *Sandbox, events ...sandbox.Event) error {
	metadata, err := json.Marshal(sb.Metadata)
	if err != nil {
		return fmt.Errorf("put sandbox %s: %w", sb.ID, err)
	}
	rules := sb.Egress
	if sb.State == sandbox.StateKilled {
		rules = rules.WithoutValues() // They are secrets, and the row stays for days.
	}
	lazy := passing(*sb)
	if lazy && sb.Version != 0 {
		if lazy, err = s.wasPassing(ctx, sb.ID); err != nil {
			return fmt.Errorf("put sandbox %s: %w", sb.ID, err)
		}
	}
	query := changeSandbox
	if sb.Version == 0 {
		query = addSandbox
	}
	values := []any{
		sb.ID, sb.Instance, sb.TemplateID, sb.Alias, sb.BuildID, sb.State, sb.Reason, string(metadata),
		table.Micros(sb.CreatedAt), table.Micros(sb.StartedAt), table.Micros(sb.EndAt), table.Micros(sb.KilledAt),
		sb.VCPUs, sb.MemoryMiB, sb.DiskMiB, sb.Secure, sb.PrivatePorts, sb.AllowInternet, sb.KeyID, sb.SlotID,
		table.Micros(sb.Deadline), sb.SnapshotID, sb.FilesystemOnly, sb.OriginID, sb.Spec, sb.OnTimeout, sb.AutoResume, sb.FollowsUp,
		table.Micros(sb.QuarantinedAt), sb.Timeout.Microseconds(),
		sb.Node, sb.Driver, sb.Request, optional(rules), optional(sb.Ingress), optional(sb.Defaults), optional(sb.Freshness), sb.Version,
	}
	if len(events) == 0 { // One statement needs no transaction around it.
		err = table.Changed(s.db.ExecAs(ctx, lazy, query, values...))
	} else {
		err = s.db.WriteAs(ctx, lazy, func(tx *sql.Tx) error { return journal.With(ctx, tx, events, query, values...) })
	}
	if err != nil {
		return fmt.Errorf("put sandbox %s at version %d: %w", sb.ID, sb.Version, err)
	}
	sb.Version++
	return nil
}

// optional is how a part of a row is kept that most rows have not.
func optional(v interface{ Empty() bool }) string {
	if v.Empty() {
		return ""
	}
	text, _ := json.Marshal(v) // It has only strings and numbers.
	return string(text)
}

// passing reports whether a power cut ends all that the row describes: the
// next start finds no machine and comes to the same, whatever the row said last.
func passing(sb Sandbox) bool {
	switch sb.State {
	case "creating", "running", "killing", "killed":
		return sb.SnapshotID == "" && sb.QuarantinedAt.IsZero()
	}
	return false
}

// wasPassing reports whether the row as it is, or none, is passing.
func (s Sandboxes) wasPassing(ctx context.Context, id string) (bool, error) {
	var old Sandbox
	var quarantined int64
	err := s.db.Scan(ctx, []any{&old.State, &old.SnapshotID, &quarantined}, `SELECT state, snapshot_id, quarantined_at FROM sandboxes WHERE id = ?`, id)
	old.QuarantinedAt = table.FromMicros(quarantined)
	if errors.Is(err, sql.ErrNoRows) {
		return true, nil
	}
	return passing(old), err
}

// Get returns one row, or ErrNotFound.
func (s Sandboxes) Get(ctx context.Context, id string) (Sandbox, error) {
	rows, err := s.read(ctx, `WHERE id = ?`, id)
	if err != nil {
		return Sandbox{}, err
	}
	if len(rows) == 0 {
		return Sandbox{}, fmt.Errorf("sandbox %s: %w", id, ErrNotFound)
	}
	return rows[0], nil
}

// Live returns an instance's rows whose state is not "killed".
func (s Sandboxes) Live(ctx context.Context, instance string) ([]Sandbox, error) {
	return s.read(ctx, `WHERE instance = ? AND state <> 'killed' ORDER BY id`, instance)
}

// CountLive counts the rows of all instances whose state is not "killed".
func (s Sandboxes) CountLive(ctx context.Context) (n int, err error) {
	err = s.db.Scan(ctx, []any{&n}, `SELECT count(*) FROM sandboxes WHERE state <> 'killed'`)
	if err != nil {
		return 0, fmt.Errorf("count live sandboxes: %w", err)
	}
	return n, nil
}

// Killed returns the newest killed rows, at most limit.
func (s Sandboxes) Killed(ctx context.Context, limit int) ([]Sandbox, error) {
	return s.read(ctx, `WHERE state = 'killed' ORDER BY killed_at DESC, id LIMIT ?`, limit)
}

// dropBatch is how many rows are removed at a time: a write in between waits for no
// more than that.
const dropBatch = 100

// DropKilled removes the killed rows from before t, and the oldest of those that
// are more than keep. It returns how many.
func (s Sandboxes) DropKilled(ctx context.Context, t time.Time, keep int) (dropped int64, err error) {
	for _, which := range []struct {
		where string
		arg   any
	}{
		{`killed_at < ? ORDER BY killed_at LIMIT ?`, table.Micros(t)},
		{`killed_at <= (SELECT killed_at FROM sandboxes WHERE state = 'killed' ORDER BY killed_at DESC LIMIT 1 OFFSET ?) ORDER BY killed_at LIMIT ?`, keep},
	} {
		for {
			res, err := s.db.ExecLazily(ctx, `DELETE FROM sandboxes WHERE id IN (SELECT id FROM sandboxes WHERE state = 'killed' AND `+which.where+`)`, which.arg, dropBatch)
			if err != nil {
				return dropped, fmt.Errorf("drop killed sandboxes: %w", err)
			}
			n, err := res.RowsAffected()
			if err != nil {
				return dropped, err
			}
			if dropped += n; n < dropBatch {
				break
			}
		}
	}
	return dropped, nil
}

// Quarantined returns the rows that need an operator, of all instances: those
// that say so, and those in a state that is not among known.
func (s Sandboxes) Quarantined(ctx context.Context, known []sandbox.State) ([]Sandbox, error) {
	return s.read(ctx, `WHERE `+needOperator+` ORDER BY id`, table.List(known))
}

// needOperator selects the rows that Quarantined returns.
const needOperator = `state <> 'killed' AND (quarantined_at <> 0 OR state NOT IN (SELECT value FROM json_each(?)))`

// CountQuarantined counts the sandboxes that Quarantined returns.
func (s Sandboxes) CountQuarantined(ctx context.Context, known []sandbox.State) (n int, err error) {
	if err := table.Current(s.db); err != nil {
		return 0, err
	}
	if err := s.db.Scan(ctx, []any{&n}, `SELECT count(*) FROM sandboxes WHERE `+needOperator, table.List(known)); err != nil {
		return 0, fmt.Errorf("count quarantined sandboxes: %w", err)
	}
	return n, nil
}

func (s Sandboxes) read(ctx context.Context, where string, args ...any) ([]Sandbox, error) {
	if err := table.Current(s.db); err != nil {
		return nil, err
	}
	return database.List(ctx, s.db, "query sandboxes", scanSandbox, `SELECT `+sandboxColumns+` FROM sandboxes `+where, args...)
}

func scanSandbox(rows *sql.Rows) (Sandbox, error) {
	var (
		sb                              Sandbox
		metadata, egress, ingress       string
		defaults, freshness             string
		created, started, end, killedAt int64
		deadline, quarantined, timeout  int64
		internet                        sql.NullBool
	)
	err := rows.Scan(&sb.ID, &sb.Instance, &sb.TemplateID, &sb.Alias, &sb.BuildID, &sb.State, &sb.Reason, &metadata,
		&created, &started, &end, &killedAt,
		&sb.VCPUs, &sb.MemoryMiB, &sb.DiskMiB, &sb.Secure, &sb.PrivatePorts, &internet, &sb.KeyID, &sb.SlotID,
		&deadline, &sb.SnapshotID, &sb.FilesystemOnly, &sb.OriginID, &sb.Spec, &sb.OnTimeout, &sb.AutoResume, &sb.FollowsUp,
		&quarantined, &timeout, &sb.Node, &sb.Driver, &sb.Request, &egress, &ingress, &defaults, &freshness, &sb.Version)
	if err != nil {
		return Sandbox{}, err
	}
	for into, text := range map[any]string{&sb.Metadata: metadata, &sb.Egress: egress, &sb.Ingress: ingress, &sb.Defaults: defaults, &sb.Freshness: freshness} {
		if text != "" && json.Unmarshal([]byte(text), into) != nil && sb.State != sandbox.StateKilled {
			sb.State = StateUnreadable
		}
	}
	if internet.Valid {
		sb.AllowInternet = &internet.Bool
	}
	sb.CreatedAt, sb.StartedAt = table.FromMicros(created), table.FromMicros(started)
	sb.EndAt, sb.KilledAt, sb.Deadline = table.FromMicros(end), table.FromMicros(killedAt), table.FromMicros(deadline)
	sb.QuarantinedAt, sb.Timeout = table.FromMicros(quarantined), time.Duration(timeout)*time.Microsecond
	return sb, nil
}
