package control

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/control/server"
	"gvisor.dev/gvisor/pkg/sentry/checkpoint"
	gvisor "gvisor.dev/gvisor/pkg/sentry/control"
	"gvisor.dev/gvisor/pkg/state/statefile"
	"gvisor.dev/gvisor/pkg/urpc"
	"gvisor.dev/gvisor/runsc/boot"
	"gvisor.dev/gvisor/runsc/config"
	"gvisor.dev/gvisor/runsc/sandbox"
)

// recorder is a control server with gVisor's names and arguments that records what it is asked.
type recorder struct {
	mu    sync.Mutex
	calls []call
	fail  string // The method that fails.
}

// call is one request: the arguments as a sandbox has them, and the files.
type call struct {
	method string
	args   any
	files  []string
}

func (r *recorder) record(method string, args any, files ...*os.File) error {
	c := call{method: method, args: args}
	for _, f := range files {
		link, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
		flags, _ := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
		c.files = append(c.files, fmt.Sprintf("%s %#o", filepath.Base(link), flags))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, c)
	if method == r.fail {
		return errors.New("cannot do that\nfor this reason")
	}
	return nil
}

// failing has a method fail from now on.
func (r *recorder) failing(method string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = method
}

// taken returns the calls since the last one of it.
func (r *recorder) taken() []call {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := r.calls
	r.calls = nil
	return calls
}

type containerManager struct{ r *recorder }

func (c *containerManager) StartRoot(id *string, _ *struct{}) error {
	return c.r.record("StartRoot", *id)
}
func (c *containerManager) Pause(_, _ *struct{}) error  { return c.r.record("Pause", nil) }
func (c *containerManager) Resume(_, _ *struct{}) error { return c.r.record("Resume", nil) }
func (c *containerManager) Restore(o *boot.RestoreOpts, _ *struct{}) error {
	files := o.Files
	o.Files = nil
	return c.r.record("Restore", *o, files...)
}
func (c *containerManager) SetNetworkArgs(o *boot.CreateLinksAndRoutesArgs, _ *struct{}) error {
	return c.r.record("SetNetworkArgs", *o)
}
func (c *containerManager) Checkpoint(o *gvisor.SaveOpts, _ *struct{}) error {
	files := o.Files
	o.Files = nil
	return c.r.record("Checkpoint", *o, files...)
}
func (c *containerManager) FSSave(o *boot.FSSaveArgs, _ *struct{}) error {
	files := o.Files
	o.Files = nil
	return c.r.record("FSSave", *o, files...)
}
func (c *containerManager) Event(id *string, out *boot.EventOut) error {
	out.ContainerUsage = map[string]uint64{*id: 5e9}
	out.Event.Data.Memory.Usage.Usage, out.Event.Data.Pids.Current = 1<<40, 7
	return c.r.record("Event", *id)
}
func (c *containerManager) ExecuteAsync(o *gvisor.ExecArgs, pid *int32) error {
	*pid = 17
	return c.r.record("ExecuteAsync", *o)
}
func (c *containerManager) WaitPID(o *boot.WaitPIDArgs, status *uint32) error {
	*status = 0x100
	return c.r.record("WaitPID", *o)
}

type debug struct{ r *recorder }

func (d *debug) Stacks(_ *struct{}, stacks *string) error {
	*stacks = "goroutine 1"
	return d.r.record("Stacks", nil)
}

type Fs struct{ r *recorder }

func (f *Fs) TarRootfsUpperLayer(o *gvisor.TarRootfsUpperLayerOpts, _ *struct{}) error {
	files := o.Files
	o.Files = nil
	return f.r.record("TarRootfsUpperLayer", *o, files...)
}

// listen starts a server of a sandbox, as its process has one.
func listen(t *testing.T) (*recorder, Sandbox) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r, s := &recorder{}, Sandbox{ID: "box", Socket: filepath.Join(dir, "s")}
	srv, err := server.Create(s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	srv.Register(&containerManager{r})
	srv.Register(&debug{r})
	srv.Register(&Fs{r})
	if err := srv.StartServing(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Stop(0) })
	return r, s
}

// gvisorConfig is the configuration of gVisor's library for a sandbox without a network.
func gvisorConfig(t *testing.T) *config.Config {
	t.Helper()
	fs := flag.NewFlagSet("runsc", flag.ContinueOnError)
	config.RegisterFlags(fs)
	for name, value := range map[string]string{"network": "none", "host-settings": "ignore", "platform": "systrap", "TESTONLY-unsafe-nonroot": "true"} {
		if err := fs.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	conf, err := config.NewFromFlags(fs)
	if err != nil {
		t.Fatal(err)
	}
	return conf
}

func loopback() (*Network, error) { return Loopback(), nil }

// TestASandboxIsAskedAsByGVisor compares what a sandbox gets of this package and of gVisor's own.
func TestASandboxIsAskedAsByGVisor(t *testing.T) {
	r, ours := listen(t)
	conf, spec := gvisorConfig(t), &specs.Spec{}
	theirs := &sandbox.Sandbox{ID: ours.ID, ControlSocketPath: ours.Socket}
	out, err := os.CreateTemp(t.TempDir(), "tar")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	// saved is a directory with the files of a snapshot.
	saved := func(files ...string) string {
		dir := t.TempDir()
		for _, name := range files {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	for name, c := range map[string]struct{ ours, theirs func() error }{
		"start": {func() error { return ours.StartRoot(loopback) }, func() error { return theirs.StartRoot(conf, spec) }},
		"restore": {func() error { return ours.Restore(saved(saveFiles...), loopback) },
			func() error { return theirs.Restore(conf, spec, "box", saved(saveFiles...), false, false, nil) }},
		"save": {func() error { return ours.Checkpoint(saved()) }, func() error {
			return theirs.Checkpoint(conf, "box", saved(), sandbox.CheckpointOpts{Compression: statefile.CompressionLevelNone, Resume: true})
		}},
		"save files": {func() error { return ours.FSSave(saved(), []string{"/", "/a"}) }, func() error {
			return theirs.FSSave(conf, "box", saved(), sandbox.FSSaveOpts{Paths: []checkpoint.ResourceID{{Path: "/"}, {Path: "/a"}}})
		}},
		"pause":  {ours.Pause, func() error { return theirs.Pause("box") }},
		"resume": {ours.Resume, func() error { return theirs.Resume("box") }},
		"event": {func() error {
			out, err := ours.Event()
			if out.ContainerUsage["box"] != 5e9 || out.Event.Data.Memory.Usage.Usage != 1<<40 || out.Event.Data.Pids.Current != 7 {
				t.Errorf("it uses %+v", out)
			}
			return err
		}, func() error { _, err := theirs.Event("box"); return err }},
		"execute": {func() error {
			pid, err := ours.Execute([]string{"/bin/a", "b"}, "/")
			if pid != 17 {
				t.Errorf("it is process %d", pid)
			}
			return err
		}, func() error {
			_, err := theirs.Execute(conf, &gvisor.ExecArgs{Argv: []string{"/bin/a", "b"}, WorkingDirectory: "/", ContainerID: "box"})
			return err
		}},
		"wait": {func() error {
			status, err := ours.WaitPID(17)
			if status != 0x100 {
				t.Errorf("it ends with %#x", status)
			}
			return err
		}, func() error { _, err := theirs.WaitPID("box", 17); return err }},
		"stacks": {func() error {
			text, err := ours.Stacks()
			if text != "goroutine 1" {
				t.Errorf("it has the stacks %q", text)
			}
			return err
		}, func() error { _, err := theirs.Stacks(); return err }},
		"tar": {func() error { return ours.TarUpperLayer(out) }, func() error { return theirs.TarRootfsUpperLayer("box", out) }},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.theirs(); err != nil {
				t.Fatal(err)
			}
			want := r.taken()
			if err := c.ours(); err != nil {
				t.Fatal(err)
			}
			if got := r.taken(); len(got) == 0 || !reflect.DeepEqual(got, want) {
				t.Errorf("%s\nwant %s", text(got), text(want))
			}
		})
	}
}

func text(calls []call) string {
	var all []string
	for _, c := range calls {
		args, _ := json.Marshal(c.args)
		all = append(all, fmt.Sprintf("%s %s %q", c.method, args, c.files))
	}
	return strings.Join(all, "\n")
}

func TestFailedCalls(t *testing.T) {
	r, s := listen(t)
	r.failing("Pause")
	var remote urpc.RemoteError
	if err := s.Pause(); !errors.As(err, &remote) || remote.Message != "cannot do that\nfor this reason" || !strings.Contains(err.Error(), "pause the sandbox") {
		t.Errorf("a refusal: %v", err)
	}
	r.failing("SetNetworkArgs")
	closed, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	n := Loopback()
	n.Files = []*os.File{closed}
	if err := s.StartRoot(func() (*Network, error) { return n, nil }); err == nil {
		t.Error("a start without its network")
	}
	if _, err := closed.Stat(); err != nil {
		t.Errorf("a socket of the network is not its owner's: %v", err)
	}
	n.Close()
	if _, err := closed.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a socket of the network stays open: %v", err)
	}
	broken := errors.New("no network")
	r.taken()
	if err := s.StartRoot(func() (*Network, error) { return nil, broken }); !errors.Is(err, broken) || len(r.taken()) != 0 {
		t.Errorf("without a network: %v", err)
	}
	dir := t.TempDir()
	if err := s.Checkpoint(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Checkpoint(dir); !errors.Is(err, os.ErrExist) {
		t.Errorf("a save over another one: %v", err)
	}
	if err := s.Restore(t.TempDir(), loopback); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a restore of nothing: %v", err)
	}
	asked := 0
	gone := Sandbox{ID: "box", Socket: filepath.Join(dir, "none")}
	if err := gone.StartRoot(func() (*Network, error) { asked++; return Loopback(), nil }); !errors.Is(err, os.ErrNotExist) || asked > 0 {
		t.Errorf("without a sandbox: %v, and the network was asked for %d times", err, asked)
	}
}

// TestNoProcessInheritsAConnection looks at one that is open.
func TestNoProcessInheritsAConnection(t *testing.T) {
	_, s := listen(t)
	conn, err := s.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if flags, err := unix.FcntlInt(uintptr(conn.Socket.FD()), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("its flags are %#x, %v", flags, err)
	}
}
