//go:build linux

package monitor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/firecracker/api"
	"github.com/rundlet/rundlet/vm/microvm/machine"
)

const memoryMiB, memoryBytes = 4, 4 << 20

// newVM returns a machine whose process is never there: double stands for it.
func newVM(t *testing.T) *VM {
	t.Helper()
	dir, err := os.MkdirTemp("", "fc") // Short: a socket below it must fit into an address.
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &machine.State{Dir: filepath.Join(dir, "run", "key"), Disks: filepath.Join(dir, "state", "key"), UID: os.Getuid(), Process: &process.Process{},
		Spec: vm.Spec{MemoryMiB: memoryMiB, RootfsReadOnly: true, Rootfs: filepath.Join(dir, "image")}}
	must(t, os.MkdirAll(s.Dir, 0o700), os.MkdirAll(s.Disks, 0o700), os.WriteFile(s.Spec.Rootfs, []byte("image"), 0o400))
	return New(Programs{Version: api.Oldest}, s)
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func patience(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// double stands for a process, and has its API at the socket in the jail. It is simulated: tests of the driver run a real one.
type double struct {
	t    *testing.T
	jail string

	mu     sync.Mutex
	state  api.State
	did    []string
	memory []byte
	// size is that of the memory, of which memory is the begin and the rest is zero.
	size    int64
	version api.Version
	// written are the pages that are in the next differences, by their number.
	written map[int64]bool
	// given are pages of buffers that the guest has given the network device. They count as written then, and not when a packet comes.
	given map[int64]bool
	// save, if not nil, does what is left of a snapshot whose files are written; its error is the answer.
	save func() error
	// refusal, if not empty, is why no snapshot is loaded: the process ends after that.
	refusal string
	server  *http.Server
	// hang, if not nil, is what each request waits for, after that has been closed.
	hang, hangs chan struct{}
}

const page = 4096

func newDouble(t *testing.T, m *VM) *double {
	t.Helper()
	must(t, m.makeRoot())
	d := &double{t: t, jail: m.jail(), state: api.NotStarted, memory: make([]byte, memoryBytes), size: memoryBytes, version: api.Oldest, written: map[int64]bool{}, given: map[int64]bool{}}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(d.jail, apiSocket))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: d, ReadHeaderTimeout: time.Minute}
	d.server = server
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	return d
}

func (d *double) write(at int64, value byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.memory[at], d.written[at/page] = value, true
}

// receive writes a packet into a buffer. It is not in the second differences, as was seen with Firecracker 1.12.1.
func (d *double) receive(at int64, value byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.memory[at] = value
	if !d.given[at/page] {
		d.given[at/page], d.written[at/page] = true, true
	}
}

func (d *double) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hang != nil {
		close(d.hangs)
		<-d.hang
		return
	}
	fault := func(text string) {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"fault_message": text})
	}
	var request struct {
		State  string `json:"state"`
		Action string `json:"action_type"`
		Kind   string `json:"snapshot_type"`
	}
	_ = json.Unmarshal(body, &request)
	switch r.Method + " " + r.URL.Path {
	case "GET /version":
		fmt.Fprintf(w, `{"firecracker_version":%q}`, d.version)
		return
	case "GET /":
		fmt.Fprintf(w, `{"state":%q}`, d.state)
		return
	case "PUT /actions":
		d.state = api.Running
	case "PATCH /vm":
		d.state = map[string]api.State{"Paused": api.Paused, "Resumed": api.Running}[request.State]
	case "PUT /snapshot/create":
		if d.state != api.Paused {
			fault("not paused")
			return
		}
		if err := d.snapshot(api.Kind(request.Kind)); err != nil {
			fault(err.Error())
			return
		}
	case "PUT /snapshot/load":
		if d.refusal != "" {
			w.Header().Set("Connection", "close")
			fault(d.refusal)
			go d.server.Shutdown(context.Background()) //nolint:errcheck // The test ends it.
			return
		}
		d.state = api.Paused
	default:
		fault("Invalid request method and/or path: " + r.Method + " " + r.URL.Path)
		return
	}
	d.did = append(d.did, request.State+request.Action+request.Kind)
	w.WriteHeader(http.StatusNoContent)
}

// snapshot writes as Firecracker does: all memory, or what was written, into a file as long as the memory. It forgets what was written in any case.
func (d *double) snapshot(kind api.Kind) error {
	defer clear(d.written)
	f, err := os.Create(filepath.Join(d.jail, savedMemory))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(d.size); err != nil {
		return err
	}
	for at := int64(0); at < memoryBytes; at += page {
		if kind == api.Full || d.written[at/page] {
			if _, err := f.WriteAt(d.memory[at:at+page], at); err != nil {
				return err
			}
		}
	}
	if err := os.WriteFile(filepath.Join(d.jail, savedState), []byte("state"), 0o600); err != nil {
		return err
	}
	if d.save != nil {
		return d.save()
	}
	return nil
}

// done returns what was asked for since the last time.
func (d *double) done() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	did := d.did
	d.did = nil
	return did
}
