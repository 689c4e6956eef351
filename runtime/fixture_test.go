package runtime

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/memvm"
)

var errInjected = errors.New("injected")

// fixture is a runtime over the in-memory driver, with a record of what
// happened in which order and a switch to make each step fail.
type fixture struct {
	// wrap makes the driver of the next open; nil is the recording one.
	wrap   func(recordingDriver) vm.Runtime
	driver recordingDriver

	t       testing.TB
	host    *memvm.Host
	network *fakeNetwork
	db      *store.Store
	dbPath  string
	rt      *Runtime
	files   string   // of the snapshots
	crashed *Runtime // a runtime whose process is dead
	damaged []vm.SnapshotInfo
	cfg     Config

	mu     sync.Mutex
	events []string
	fail   map[string]int // how often a step fails
	during map[string]func()
	inits  map[string]envd.InitRequest
	stamp  string
	ports  map[uint16]func(net.Conn)
	hang   func(op, id string) <-chan struct{}                       // calls of the driver that hang; may be nil
	muted  map[string]bool                                           // agents that never answer; "" is all
	point  func(step.Step) error                                     // the Failpoint; may be nil
	dial   func(id string) error                                     // why a connection cannot be made; may be nil
	uses   map[string]string                                         // what guests say that they use
	asked  map[string]int                                            // how often they were asked
	shell  func(shellCommand) (string, int)                          // what commands write, and how they end; may be nil
	kill   func(id string)                                           // ends the commands of a tag; may be nil
	root   func(id string, req *http.Request) (body string, ok bool) // what is said about the root; may be nil
}

func (f *fixture) event(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, fmt.Sprintf(format, args...))
}

// step records a step and returns an error if it is to fail.
func (f *fixture) step(name string) error {
	f.event("%s", name)
	return f.failing(name)
}

// failing returns an error if the step is to fail. It is not an event: for what
// goes on in the background of all tests.
func (f *fixture) failing(name string) error {
	f.mu.Lock()
	look := f.during[name]
	f.mu.Unlock()
	if look != nil {
		look()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail[name] > 0 {
		f.fail[name]--
		return errInjected
	}
	return nil
}

func (f *fixture) failNext(step string, times int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail[step] = times
}

// lookDuring calls look at the beginning of every such step.
func (f *fixture) lookDuring(step string, look func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.during[step] = look
}

// at is the runtime's Failpoint: what runs in the background passes steps, too.
func (f *fixture) at(step step.Step) error {
	f.mu.Lock()
	point := f.point
	f.mu.Unlock()
	if point == nil {
		return nil
	}
	return point(step)
}

// failpoint calls point, which may be nil, at each step from now on.
func (f *fixture) failpoint(point func(step.Step) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.point = point
}

// initOf is what a sandbox's agent was initialised with.
func (f *fixture) initOf(id string) envd.InitRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.inits[id]
}

// setStamp changes what the image of the base is made from.
func (f *fixture) setStamp(stamp string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stamp = stamp
}

// mute makes the agent of a sandbox, or of all with "", take requests and never
// answer, as one does that was stopped.
func (f *fixture) mute(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.muted[id] = true
}

func (f *fixture) unmute() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.muted)
}

func (f *fixture) history() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.events)
}

func (f *fixture) forgetHistory() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = nil
}

// guest is the memory of a guest, for the guest itself.
func (f *fixture) guest(id string) *memvm.Guest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.driver.Guest(id)
}

// agent answers as the agent in the guest does, as far as the runtime sees it.
func (f *fixture) agent(id string) func(net.Conn) {
	return func(conn net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		f.mu.Lock()
		muted := f.muted[id] || f.muted[""]
		f.mu.Unlock()
		if muted {
			_ = f.failing("muted")           // A test may look.
			_, _ = io.Copy(io.Discard, conn) // Until the caller gives up.
			return
		}
		status := "204 No Content"
		switch req.URL.Path {
		case envd.InitPath:
			var in envd.InitRequest
			memory := f.guest(id)
			if memory == nil {
				return // It was ended meanwhile.
			}
			have := memory.Get("control token")
			switch err := json.NewDecoder(req.Body).Decode(&in); {
			case have != "" && req.Header.Get(envd.ControlTokenHeader) != have:
				status = "401 Unauthorized"
			case err != nil || f.step("init") != nil:
				status = "500 Internal Server Error"
			default:
				memory.Set("control token", in.ControlToken)
			}
			f.mu.Lock()
			f.inits[id] = in
			f.mu.Unlock()
		case envd.TrustPath:
			f.trust(conn, id, req)
			return
		case envd.HealthPath:
			if f.step("health") != nil {
				status = "500 Internal Server Error"
			}
		case envd.DialPath:
			status = "502 Bad Gateway"
		case envd.MetricsPath:
			if says := f.guestUsage(id, req); says != "" {
				fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(says), says)
				return
			}
		case envd.RootPath, envd.RootTimesPath:
			status = "404 Not Found"
			if f.root != nil {
				body, ok := f.root(id, req)
				switch status = "500 Internal Server Error"; {
				case ok && req.Method == http.MethodPost:
					status = "204 No Content"
				case ok:
					fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
					return
				}
			}
		case "/process.Process/Start":
			f.command(conn, id, req)
			return
		case "/process.Process/SendSignal":
			f.signal(conn, id, req)
			return
		default:
			status = "404 Not Found"
		}
		fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n", status)
	}
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, host: memvm.NewHost(), fail: map[string]int{}, during: map[string]func(){}, inits: map[string]envd.InitRequest{}, muted: map[string]bool{}, uses: map[string]string{}, asked: map[string]int{}, stamp: "v1", files: t.TempDir()}
	f.network = &fakeNetwork{f: f, leased: map[string]egress.Policy{}, refusals: make(chan struct{}, 1)}
	f.dbPath = filepath.Join(t.TempDir(), "db")
	f.db = newDatabase(t, f.dbPath)
	f.cfg = Config{
		Instance: "test", Authority: "authority", ScratchDir: t.TempDir(), Uploads: t.TempDir(), Network: f.network, Store: f.db, Failpoint: f.at,
		Launches: 2, // Tests make a machine while another one is being made, on a host with one processor too.
		Base: func(context.Context) (template.Image, error) {
			f.mu.Lock()
			stamp := f.stamp
			f.mu.Unlock()
			return template.Image{Spec: vm.Spec{Rootfs: "/base", Args: []string{"/agent"}}, Stamp: stamp}, f.step("base")
		},
		LockTemplates: func(context.Context) (func(), error) { return func() {}, f.step("lock") },
		Capacity:      capacity.Budget{CPUs: 1 << 40, MemoryBytes: 1 << 50, DiskBytes: 1 << 60, Sandboxes: 10},
	}
	f.open()
	f.forgetHistory()
	return f
}

// open starts the runtime over what is there, as a daemon's process does.
func (f *fixture) open() {
	f.t.Helper()
	f.cfg.Latency = &latency.Recorder{}
	driver := recordingDriver{memvm.New(memvm.Options{Host: f.host, Hang: f.hang, Handler: func(id string, port uint16) func(net.Conn) {
		if port == envd.Port {
			return f.agent(id)
		}
		return f.ports[port]
	}}), f}
	f.mu.Lock() // A guest of the process before may answer still.
	f.driver = driver
	f.mu.Unlock()
	f.cfg.Driver = driver
	if f.wrap != nil {
		f.cfg.Driver = f.wrap(f.driver)
	}
	rt, err := Open(context.Background(), f.cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.rt = rt
	f.t.Cleanup(func() {
		if rt != f.crashed {
			rt.Close()
		}
	})
}

// restart ends the runtime's process without ending its sandboxes, and starts
// the next one.
func (f *fixture) restart() {
	f.t.Helper()
	f.rt.Close()
	f.open()
}

// drive starts the next process with another driver.
func (f *fixture) drive(wrap func(recordingDriver) vm.Runtime) {
	f.t.Helper()
	f.wrap = wrap
	f.restart()
}

func (f *fixture) create(change ...func(*sandbox.CreateRequest)) sandbox.Sandbox {
	f.t.Helper()
	req := request()
	for _, c := range change {
		c(&req)
	}
	sb, err := f.rt.Create(context.Background(), req)
	if err != nil {
		f.t.Fatal(err)
	}
	return sb
}

func request() sandbox.CreateRequest {
	return sandbox.CreateRequest{Template: "base", Timeout: time.Minute, Secure: true, Metadata: map[string]string{"who": "me"}}
}

func (f *fixture) row(id string) store.Sandbox {
	f.t.Helper()
	row, err := f.db.Sandboxes.Get(context.Background(), id)
	if err != nil {
		f.t.Fatal(err)
	}
	return row
}
