package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/api/gen/envd/processpb"
	"github.com/rundlet/rundlet/api/gen/envd/processpb/processpbconnect"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/image/hostbase"
	"github.com/rundlet/rundlet/internal/testspace"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor"
)

// TestMain runs the tests in separate network and mount namespaces. The same
// binary is the agent in the sandbox.
func TestMain(m *testing.M) {
	if name := filepath.Base(os.Args[0]); name == "agent" || name == "sudo" {
		main()
		return
	}
	if os.Geteuid() == 0 && os.Getenv(nestedEnv) == "" {
		os.Exit(testspace.Again(nestedEnv+"=1", func(pid int) string { return fmt.Sprintf("rundlet-agent-%d/", pid) }))
	}
	if os.Getenv(nestedEnv) != "" {
		if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

const nestedEnv = "RUNDLET_AGENT_TEST_NESTED"

// node makes sandboxes from the base that this host gives, with this binary as
// their agent, and restores them as the product does.
type node struct {
	t      testing.TB
	driver *gvisor.Driver
	spec   vm.Spec
	links  int
	boxes  atomic.Int64
}

func newNode(t testing.TB) *node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := os.Stat("/usr/bin/python3"); err != nil {
		t.Skip("the base of this host has no python3")
	}
	dir, err := os.MkdirTemp("", "ag")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	base, err := hostbase.Build(t.Context(), hostbase.Config{Dir: filepath.Join(dir, "base"), AgentPath: self})
	if err != nil {
		t.Fatal(err)
	}
	d, err := gvisor.New(gvisor.Config{StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"),
		Instance: fmt.Sprintf("agent-%d", os.Getpid())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return &node{t: t, driver: d, spec: vm.Spec{
		Rootfs: base.Rootfs, Mounts: base.Mounts, Args: base.Args, Env: base.Env, Cwd: "/", MemoryMiB: 512, DiskMiB: 512,
	}}
}

// box is a sandbox; its control token is its id.
type box struct {
	*node
	id, ip  string
	process processpbconnect.ProcessClient
}

// boot starts a sandbox whose agent is not initialised.
func (n *node) boot() *box {
	n.t.Helper()
	b, spec := n.prepare(n.spec)
	ctx := n.t.Context()
	if err := errors.Join(n.driver.Create(ctx, b.id, spec), n.driver.Start(ctx, b.id)); err != nil {
		n.t.Fatal(err)
	}
	b.await()
	return b
}

// restore makes a sandbox from a snapshot; its agent is not initialised yet.
func (n *node) restore(of *box, snapshot string) *box {
	n.t.Helper()
	b, spec := n.prepare(n.spec)
	spec.RestoreFrom = &vm.SnapshotRef{VMID: of.id, SnapshotID: snapshot, ResumeImmediately: true}
	if err := n.driver.Create(n.t.Context(), b.id, spec); err != nil {
		n.t.Fatal(err)
	}
	return b
}

func (n *node) prepare(spec vm.Spec) (*box, vm.Spec) {
	n.t.Helper()
	n.links++
	b := &box{node: n, id: fmt.Sprintf("box%d", n.boxes.Add(1))}
	spec.NetNS, spec.GuestIP = makeNetNS(n.t, n.links)
	spec.Hostname, b.ip = b.id, spec.GuestIP
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return b.dial(ctx) }}
	b.process = processpbconnect.NewProcessClient(&http.Client{Transport: transport}, "http://"+b.id)
	n.t.Cleanup(func() {
		transport.CloseIdleConnections()
		err := n.driver.Destroy(context.Background(), b.id)
		if err != nil && !errors.Is(err, vm.ErrNotFound) && !errors.Is(err, vm.ErrInvalidTransition) {
			n.t.Error(err)
		}
	})
	return b, spec
}

func (b *box) dial(ctx context.Context) (net.Conn, error) {
	return b.driver.Dial(ctx, b.id, envd.Port)
}

// await waits for a guest that does not listen yet.
func (b *box) await() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	for envd.Health(ctx, b.dial) != nil {
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			lines, _ := b.driver.ConsoleTail(context.Background(), b.id, 20)
			b.t.Fatalf("the agent does not answer: %q", lines)
		}
	}
}

// init initialises the agent, as the runtime does.
func (b *box) init(change ...func(*envd.InitRequest)) {
	b.t.Helper()
	req := envd.InitRequest{
		Timestamp: time.Now(), Hostname: b.id, SandboxID: b.id, TemplateID: "base", ControlToken: b.id,
		DefaultUser: "user", RandomSeed: []byte(b.id),
	}
	for _, f := range change {
		f(&req)
	}
	if err := envd.Init(b.t.Context(), b.dial, req); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) snapshot(name string) {
	b.t.Helper()
	if err := b.driver.Snapshot(b.t.Context(), b.id, name); err != nil {
		b.t.Fatal(err)
	}
}

// fork snapshots the box and restores it n times, each with a new identity.
func (b *box) fork(n int, change ...func(*envd.InitRequest)) []*box {
	b.t.Helper()
	name := fmt.Sprintf("s%d", b.boxes.Load())
	b.snapshot(name)
	var all []*box
	for range n {
		child := b.restore(b, name)
		child.init(append(change, restored(b))...)
		all = append(all, child)
	}
	return all
}

// restored makes a request the first one to a copy of a box.
func restored(of *box) func(*envd.InitRequest) {
	return func(req *envd.InitRequest) { req.CurrentToken, req.Restored = of.id, true }
}

// sh runs a shell command as root and returns its output without the last
// newline.
func (b *box) sh(script string) string {
	b.t.Helper()
	out, err := b.run(script)
	if err != nil {
		b.t.Fatalf("%s: %s: %v: %s", b.id, script, err, out)
	}
	return out
}

func testdata(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// background runs a script of testdata as root and returns when it is ready.
func (b *box) background(interpreter, name string, args ...string) {
	b.t.Helper()
	b.sh("cat > /tmp/" + name + " <<'END OF SCRIPT'\n" + testdata(b.t, name) + "END OF SCRIPT\n" +
		"nohup " + interpreter + " /tmp/" + name + " " + strings.Join(args, " ") + " > /tmp/log 2>&1 &\n" +
		"for i in $(seq 500); do [ -e /tmp/ready ] && exit; sleep 0.02; done; cat /tmp/log; exit 1")
}

func (b *box) run(script string) (string, error) {
	stream, err := b.start(b.t.Context(), script)
	if err != nil {
		return "", err
	}
	defer stream.Close()
	var out bytes.Buffer
	for stream.Receive() {
		ev := stream.Msg().GetEvent()
		out.Write(ev.GetData().GetStdout())
		out.Write(ev.GetData().GetStderr())
		if end := ev.GetEnd(); end != nil {
			text := strings.TrimSuffix(out.String(), "\n")
			if end.GetExitCode() != 0 {
				return text, errors.New(end.GetStatus())
			}
			return text, nil
		}
	}
	return out.String(), errors.Join(stream.Err(), io.ErrUnexpectedEOF)
}

// start runs a shell command as root and streams its output; the caller closes
// the stream.
func (b *box) start(ctx context.Context, script string) (*connect.ServerStreamForClient[processpb.StartResponse], error) {
	req := connect.NewRequest(&processpb.StartRequest{
		Process: &processpb.ProcessConfig{Cmd: "/bin/bash", Args: []string{"-c", script}},
	})
	req.Header().Set("Authorization", "Basic cm9vdDo=")
	return b.process.Start(ctx, req)
}

// eventually polls for an event without a notification.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !done() {
		select {
		case <-deadline:
			t.Fatalf("%s did not happen", what)
		case <-tick.C:
		}
	}
}
