// Package fakeruntime is a runtime in memory with programs of the test behind
// its ports. Only tests of e2b and the packages below it may import it; it may import sandbox
// and envd.
package fakeruntime

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime/fakebuilds"
	"github.com/rundlet/rundlet/e2b/internal/fakeruntime/fakeevents"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// Runtime has the methods of e2b.RuntimeAdapter. The exported fields are set
// before use.
type Runtime struct {
	// Builds are the templates.
	fakebuilds.Builds
	// Journal has the events.
	fakeevents.Journal

	// Started and Printed count the observations of the data plane.
	Started, Printed atomic.Int32

	// Silent makes Kill leave connections open, as a machine that vanishes.
	Silent bool
	// BeforeDial, if set, is called by each Dial first.
	BeforeDial func(id string)
	// Room is how many sandboxes fit when a fork makes more; 0 is any.
	Room int
	// Transitions are the pauses and resumes. A test may use it at any time.
	Transitions Transitions
	mu          sync.Mutex
	err         error
	sandboxes   map[string]*entry
	started     int
	dials       int
	requests    []sandbox.CreateRequest
	snapshots   snapshots
	changed     chan struct{} // closed by the next Edit; may be nil
}

type entry struct {
	sandbox.Sandbox
	ports map[uint16]net.Listener
	srvs  []*http.Server
	conns []net.Conn
	// pausing is closed when the pause is over; resume is the one under way.
	pausing chan struct{}
	resume  *resume
}

// Epoch is when the first run of a sandbox starts; each next one starts a second
// later.
var Epoch = time.Date(2026, 1, 2, 3, 4, 5, 6000000, time.UTC)

// Create implements e2b.RuntimeAdapter.
func (f *Runtime) Create(_ context.Context, req sandbox.CreateRequest) (sandbox.Sandbox, error) {
	if err := f.failure(); err != nil {
		return sandbox.Sandbox{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, req)
	if req.Template != "base" && f.snapshots.find(req.Template, false) < 0 && !f.Builds.Has(req.Template) {
		return sandbox.Sandbox{}, fmt.Errorf("create: %w", sandbox.ErrTemplateNotFound)
	}
	return f.create(req), nil
}

// create makes a sandbox. The caller holds mu.
func (f *Runtime) create(req sandbox.CreateRequest) sandbox.Sandbox {
	sb := sandbox.Sandbox{
		ID: fmt.Sprintf("i%020d", f.started), TemplateID: "tpl0", Alias: req.Template, State: sandbox.StateRunning,
		Metadata: req.Metadata, StartedAt: start(f),
		EndAt: Epoch.Add(req.Timeout), VCPUs: 2, MemoryMiB: 512, DiskMiB: 1024, EnvdVersion: envd.Version,
		AllowInternet: req.AllowInternet, Egress: req.Egress, Ingress: req.Ingress, KeyID: req.KeyID, OnTimeout: req.OnTimeout, AutoResume: req.AutoResume,
	}
	if req.Secure {
		sb.EnvdAccessToken = "token-" + sb.ID
	}
	if req.AllowPublicTraffic != nil && !*req.AllowPublicTraffic {
		sb.TrafficAccessToken = "traffic-" + sb.ID
	}
	if f.sandboxes == nil {
		f.sandboxes = make(map[string]*entry)
	}
	f.sandboxes[sb.ID] = &entry{Sandbox: sb, ports: make(map[uint16]net.Listener)}
	return sb
}

// start is when the next run starts. The caller holds mu.
func start(f *Runtime) time.Time {
	f.started++
	return Epoch.Add(time.Duration(f.started-1) * time.Second)
}

// Listen serves h on a port of a sandbox until it is killed, HTTP/1.1 and h2c.
func (f *Runtime) Listen(id string, port uint16, h http.Handler) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	srv := &http.Server{Handler: h, Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	go srv.Serve(ln)
	f.ListenOn(id, port, ln)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sandboxes[id].srvs = append(f.sandboxes[id].srvs, srv)
}

// ListenOn makes ln, whose connections the caller serves, the listener of a port of a sandbox until
// that is killed.
func (f *Runtime) ListenOn(id string, port uint16, ln net.Listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sandboxes[id].ports[port] = ln
}

// Edit changes the record of a sandbox.
func (f *Runtime) Edit(id string, change func(*sandbox.Sandbox)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.sandboxes[id].Sandbox)
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// Fail makes every method but Dial return err; nil ends that.
func (f *Runtime) Fail(err error) {
	f.Builds.Fail(err)
	f.Journal.Break(err)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *Runtime) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Dials counts the streams that were opened.
func (f *Runtime) Dials() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dials
}

// LastRequest returns the request of the last Create.
func (f *Runtime) LastRequest() sandbox.CreateRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests[len(f.requests)-1]
}

// Get implements e2b.RuntimeAdapter.
func (f *Runtime) Get(_ context.Context, id string) (sandbox.Sandbox, error) {
	if err := f.failure(); err != nil {
		return sandbox.Sandbox{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	sb := f.sandboxes[id]
	if sb == nil {
		return sandbox.Sandbox{}, fmt.Errorf("get %s: %w", id, sandbox.ErrNotFound)
	}
	return sb.Sandbox, nil
}

// CountRunning implements e2b.RuntimeAdapter.
func (f *Runtime) CountRunning(ctx context.Context, q sandbox.ListFilter) (int, error) {
	q.States, q.After, q.Limit = []sandbox.State{sandbox.StateRunning}, nil, 0
	all, err := f.List(ctx, q)
	return len(all), err
}

// List implements e2b.RuntimeAdapter.
func (f *Runtime) List(_ context.Context, q sandbox.ListFilter) ([]sandbox.Sandbox, error) {
	if err := f.failure(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	order := func(a, b sandbox.Sandbox) int {
		c := b.StartedAt.Compare(a.StartedAt)
		if q.Ascending {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(a.ID, b.ID))
	}
	if len(q.States) == 0 {
		q.States = []sandbox.State{sandbox.StateRunning, sandbox.StatePaused}
	}
	var found []sandbox.Sandbox
	for _, sb := range f.sandboxes {
		if selects(q, sb.Sandbox) {
			found = append(found, sb.Sandbox)
		}
	}
	slices.SortFunc(found, order)
	if q.After != nil {
		at := sandbox.Sandbox{StartedAt: q.After.StartedAt, ID: q.After.ID}
		found = slices.DeleteFunc(found, func(sb sandbox.Sandbox) bool { return order(sb, at) <= 0 })
	}
	if q.Limit > 0 && len(found) > q.Limit {
		found = found[:q.Limit]
	}
	return found, nil
}

// EachToken implements e2b.RuntimeAdapter.
func (f *Runtime) EachToken(ctx context.Context, yield func(id, token string) bool) error {
	all, err := f.List(ctx, sandbox.ListFilter{})
	for _, sb := range all {
		if sb.EnvdAccessToken != "" && !yield(sb.ID, sb.EnvdAccessToken) {
			break
		}
	}
	return err
}

func selects(q sandbox.ListFilter, sb sandbox.Sandbox) bool {
	if !slices.Contains(q.States, sb.State.Shown()) {
		return false
	}
	for k, v := range q.Metadata {
		if sb.Metadata[k] != v {
			return false
		}
	}
	if q.Template != "" && q.Template != sb.TemplateID && q.Template != sb.Alias {
		return false
	}
	return !sb.StartedAt.Truncate(time.Millisecond).Before(q.StartedAfter)
}

// Kill implements e2b.RuntimeAdapter.
func (f *Runtime) Kill(_ context.Context, id string) error {
	if err := f.failure(); err != nil {
		return err
	}
	f.mu.Lock()
	sb := f.sandboxes[id]
	delete(f.sandboxes, id)
	f.mu.Unlock()
	if sb == nil {
		return fmt.Errorf("kill %s: %w", id, sandbox.ErrNotFound)
	}
	for _, ln := range sb.ports {
		ln.Close()
	}
	if !f.Silent {
		for _, c := range sb.conns {
			c.Close()
		}
		for _, srv := range sb.srvs {
			srv.Close()
		}
	}
	return nil
}

// SetTimeout implements e2b.RuntimeAdapter, with Epoch as now.
func (f *Runtime) SetTimeout(ctx context.Context, id string, timeout time.Duration) error {
	if _, err := f.Get(ctx, id); err != nil {
		return err
	}
	f.Edit(id, func(sb *sandbox.Sandbox) { sb.EndAt = Epoch.Add(timeout) })
	return nil
}

// Extend implements e2b.RuntimeAdapter.
func (f *Runtime) Extend(ctx context.Context, id string, timeout time.Duration) error {
	sb, err := f.Get(ctx, id)
	if err != nil || Epoch.Add(timeout).Before(sb.EndAt) {
		return err
	}
	return f.SetTimeout(ctx, id, timeout)
}

// Dial implements e2b.RuntimeAdapter.
func (f *Runtime) Dial(ctx context.Context, id string, port uint16) (net.Conn, error) {
	if f.BeforeDial != nil {
		f.BeforeDial(id)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dials++
	sb := f.sandboxes[id]
	if sb == nil || sb.State != sandbox.StateRunning {
		return nil, fmt.Errorf("dial %s: %w", id, sandbox.ErrNotRunning)
	}
	ln := sb.ports[port]
	if ln == nil {
		return nil, fmt.Errorf("dial %s: %w", id, sandbox.ErrPortClosed)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", ln.Addr().String())
	if err == nil {
		sb.conns = append(sb.conns, c)
	}
	return c, err
}

// CommandStarted counts.
func (f *Runtime) CommandStarted(string, time.Duration) { f.Started.Add(1) }

// FirstStdout counts.
func (f *Runtime) FirstStdout(string, time.Duration) { f.Printed.Add(1) }
