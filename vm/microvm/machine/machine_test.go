//go:build linux

package machine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/link"
	"github.com/rundlet/rundlet/vm/microvm/snapshots"
)

// double is a monitor with a guest, which answers only while its processors run.
type double struct {
	Monitor // Nil: other methods are not used.

	refuse string        // what the guest answers; it succeeds if this is empty
	ends   int           // As many connections end before the guest has read a call.
	silent int           // Of as many connections the guest reads the calls, and answers none.
	heard  chan string   // gets the nonce of each that has been read
	boots  time.Duration // how long a guest takes until it reads its first call
	broken error         // of Save
	resets bool          // Save ends all connections of the guest.

	mu      sync.Mutex
	running bool
	did     []string
	calls   []link.Call
	last    string // the nonce of the last call
	conns   []net.Conn
}

func (d *double) note(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.did = append(d.did, what)
}

func (d *double) Resume(context.Context) error {
	d.note("resume")
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running = true
	return nil
}

func (d *double) Pause(context.Context) error {
	d.note("pause")
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running = false
	return nil
}

func (d *double) Save(_ context.Context, dir string) error {
	d.note("save")
	if d.resets {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, conn := range d.conns {
			conn.Close()
		}
		d.conns = nil
	}
	return errors.Join(d.broken, os.WriteFile(filepath.Join(dir, snapshots.MemoryFile), nil, 0o600))
}

func (d *double) Dial(ctx context.Context) (net.Conn, error) {
	d.note("dial")
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.running {
		return nil, errors.New("a guest that stands still is called")
	}
	host, guest := net.Pipe()
	d.conns = append(d.conns, guest)
	go d.serve(guest)
	return host, nil
}

func (d *double) HangUp() {}

// serve is the guest's first process.
func (d *double) serve(conn net.Conn) {
	defer conn.Close()
	<-time.After(d.boots)
	d.mu.Lock()
	ends := d.ends > 0
	d.ends--
	d.mu.Unlock()
	if ends {
		return
	}
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		var call link.Call
		if json.Unmarshal(lines.Bytes(), &call) != nil {
			continue
		}
		d.mu.Lock()
		silent := d.silent > 0
		d.silent--
		d.mu.Unlock()
		if silent {
			d.heard <- call.Nonce
			_, _ = io.Copy(io.Discard, conn)
			return
		}
		what, refuse := "freeze", d.refuse
		switch {
		case call.Boot == nil && call.Wake == nil && !call.Freeze:
			what, refuse = "nothing", "unknown call"
		case call.Boot != nil:
			what = "boot"
		case call.Wake != nil:
			what = "wake"
		case call.Sync:
			what = "freeze and write"
		}
		d.mu.Lock()
		if d.last != call.Nonce { // Or it is repeated.
			d.did, d.calls, d.last = append(d.did, what), append(d.calls, call), call.Nonce
		}
		d.mu.Unlock()
		fmt.Fprintf(conn, "{\"nonce\": %q, \"error\": %q}\n", call.Nonce, refuse)
	}
}

// want compares what the monitor and the guest were asked for since the last time.
func (d *double) want(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.did, want) {
		t.Errorf("done: %q, want %q", d.did, want)
	}
	d.did = nil
}

func newVM(t *testing.T, d *double) *VM {
	t.Helper()
	m := &VM{Monitor: d, State: State{Disks: t.TempDir(), Spec: vm.Spec{RootfsReadOnly: true, Hostname: "name", Args: []string{"/init"}}}}
	t.Cleanup(m.HangUp)
	return m
}

// The guest is called when its processors run, boots once, and learns each time what it is.
func TestAGuestBootsAndGoesOn(t *testing.T) {
	d := &double{}
	m := newVM(t, d)
	m.Cold, m.Network, m.SetUID = true, &link.Network{MAC: "02:00:00:00:00:01"}, []string{"/bin/su"}
	for range 2 {
		if err := errors.Join(m.Run(t.Context()), m.Halt()); err != nil {
			t.Fatal(err)
		}
		if m.Cold || !m.Frozen {
			t.Errorf("cold: %v, frozen: %v", m.Cold, m.Frozen)
		}
	}
	d.want(t, "resume", "dial", "nothing", "boot", "freeze", "pause", "resume", "wake", "freeze", "pause")
	boot, wake := d.calls[1].Boot, d.calls[3].Wake
	if !slices.Equal(boot.Args, m.Spec.Args) || !slices.Equal(boot.SetUID, m.SetUID) || !boot.ReadOnly {
		t.Errorf("boot: %+v", boot)
	}
	for _, w := range []link.Wake{boot.Wake, *wake} {
		if time.Since(w.Time) > time.Minute || len(w.Seed) < 32 || w.Hostname != "name" || w.Network.MAC != m.Network.MAC {
			t.Errorf("%+v", w)
		}
	}
	if string(boot.Seed) == string(wake.Seed) {
		t.Error("the same entropy twice")
	}
}

// A guest that takes long to boot does not get the time at which it was started.
func TestAGuestThatBootsSlowlyHasTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &double{boots: 5 * time.Second}
		m := newVM(t, d)
		m.Cold = true
		if err := m.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if off := time.Since(d.calls[len(d.calls)-1].Boot.Time); off != 0 {
			t.Errorf("its clock is off by %v", off)
		}
		m.HangUp()
	})
}

// A snapshot of a running machine holds programs that are frozen, and the machine goes on.
func TestARunningMachineIsSaved(t *testing.T) {
	for name, resets := range map[string]bool{"connections stay": false, "connections end": true} {
		t.Run(name, func(t *testing.T) {
			d := &double{resets: resets}
			m := newVM(t, d)
			if err := errors.Join(m.Run(t.Context()), m.Save(true, t.TempDir(), false)); err != nil {
				t.Fatal(err)
			}
			if !resets {
				d.want(t, "resume", "dial", "wake", "freeze", "pause", "save", "resume", "wake")
			} else { // The connection that was kept is found ended, and another one is made.
				d.want(t, "resume", "dial", "wake", "freeze", "pause", "save", "resume", "dial", "wake")
			}
			if err := m.Save(true, t.TempDir(), true); err != nil {
				t.Fatal(err)
			}
			d.want(t, "freeze and write", "pause", "resume", "wake")
			if m.Unsure || m.Frozen {
				t.Errorf("unsure: %v, frozen: %v", m.Unsure, m.Frozen)
			}
		})
	}
}

// A stopped machine whose programs were not frozen is not saved before they are.
func TestOnlyFrozenProgramsAreSaved(t *testing.T) {
	d := &double{refuse: "no"}
	m := newVM(t, d)
	if err := m.Run(t.Context()); !errors.As(err, new(link.RefusedError)) {
		t.Fatal(err)
	}
	if err := m.Halt(); err != nil || m.Frozen {
		t.Fatal(err, m.Frozen)
	}
	if err := m.Save(false, t.TempDir(), false); !errors.Is(err, vm.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	d.want(t, "resume", "dial", "wake", "freeze", "pause", "resume", "freeze", "pause")
	d.refuse = ""
	if err := m.Save(false, t.TempDir(), false); err != nil {
		t.Fatal(err)
	}
	d.want(t, "resume", "freeze", "pause", "save")
	if err := m.Save(false, t.TempDir(), false); err != nil {
		t.Fatal(err)
	}
	d.want(t, "save")
}

// What a stopped machine does is not known after its save has failed.
func TestASaveOfAStoppedMachineFails(t *testing.T) {
	d := &double{broken: errors.New("broken")}
	m := newVM(t, d)
	m.Frozen = true
	if err := m.Save(false, t.TempDir(), false); !errors.Is(err, d.broken) || !m.Unsure {
		t.Errorf("%v, unsure: %v", err, m.Unsure)
	}
}

// A guest that says nothing holds a call up no longer than its context.
func TestACallOfASilentGuestEnds(t *testing.T) {
	d := &double{silent: 100, running: true, heard: make(chan string, 100)}
	m := newVM(t, d)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-d.heard
		cancel()
	}()
	if err := m.call(ctx, time.Minute, link.Call{Freeze: true}); !errors.Is(err, vm.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	m.HangUp()
	m.HangUp()
}

// A connection that passes nothing on is replaced, and the call stays the same for the guest.
func TestASilentConnectionIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &double{silent: 2, running: true, heard: make(chan string, 2)}
		m := newVM(t, d)
		began := time.Now()
		if err := m.call(t.Context(), time.Minute, link.Call{Freeze: true}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 3*patience {
			t.Errorf("it took %v", took)
		}
		d.want(t, "dial", "dial", "dial", "freeze")
		if first, second := <-d.heard, <-d.heard; first == "" || first != second || first != d.calls[0].Nonce {
			t.Errorf("nonces %q, %q and %q", first, second, d.calls[0].Nonce)
		}
		m.HangUp()
	})
}

// A machine needs no file of the snapshot any more when its own are made.
func TestFilesOfASnapshot(t *testing.T) {
	saved := t.TempDir()
	for _, name := range []string{snapshots.DiskFile, snapshots.MemoryFile, snapshots.StateFile} {
		if err := os.WriteFile(filepath.Join(saved, name), []byte(strings.Repeat(name, 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		readOnly, restored bool
		want               []string
	}{
		"memory and disk":          {false, true, []string{"disk", "ram", "state"}},
		"memory, of read-only":     {true, true, []string{"ram", "state"}},
		"files alone":              {false, false, []string{"disk"}},
		"files alone of read-only": {true, false, nil},
	} {
		m := newVM(t, &double{})
		m.Spec.RootfsReadOnly, m.Restored = c.readOnly, c.restored
		if err := m.MakeFiles(saved, &snapshots.Manifest{}); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(m.Disks)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, entry := range entries {
			names = append(names, entry.Name())
			if data, err := os.ReadFile(filepath.Join(m.Disks, entry.Name())); err != nil || string(data) != strings.Repeat(entry.Name(), 1000) {
				t.Errorf("%s: %s has %d bytes, %v", name, entry.Name(), len(data), err)
			}
		}
		if !slices.Equal(names, c.want) {
			t.Errorf("%s: %q, want %q", name, names, c.want)
		}
	}
}
