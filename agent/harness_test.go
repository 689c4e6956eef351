//go:build linux

package agent_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/rundlet/rundlet/agent"
	"github.com/rundlet/rundlet/agent/reaper"
	"github.com/rundlet/rundlet/api/gen/envd/filesystempb/filesystempbconnect"
	"github.com/rundlet/rundlet/api/gen/envd/processpb/processpbconnect"
	"github.com/rundlet/rundlet/envd"
)

const userID = 65534

// kernel records what init asks of the kernel.
type kernel struct {
	mu       sync.Mutex
	hostname string
	clock    time.Time
	seed     []byte
	bootID   string
	err      error
}

func (k *kernel) SetHostname(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hostname = name
	return k.err
}

func (k *kernel) SetTime(t time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.clock = t
	return k.err
}

func (k *kernel) AddRandom(seed []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seed = seed
	return k.err
}

func (k *kernel) SetBootID(id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.bootID = id
	return k.err
}

// guest is a running agent with a separate user; home belongs to it.
type guest struct {
	url, addr, root, home string
	console               string // The file that gets its messages.
	kernel                *kernel
	client                *http.Client
	process               processpbconnect.ProcessClient
	fs                    filesystempbconnect.FilesystemClient
}

func newGuest(t testing.TB, opts ...connect.ClientOption) *guest {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the agent is root in its guest; run these tests as root")
	}
	g := &guest{root: t.TempDir(), home: t.TempDir(), kernel: &kernel{}, console: t.TempDir() + "/console"}
	// The user must be able to pass through the test's directory.
	if err := os.Chmod(filepath.Dir(g.home), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(g.home, userID, userID); err != nil {
		t.Fatal(err)
	}
	g.write(t, "etc/passwd", fmt.Sprintf("root:x:0:0:root:/root:/bin/bash\nuser:x:%d:%d::%s:/bin/bash\n", userID, userID, g.home))
	g.write(t, "etc/group", "root:x:0:\nuser:x:65534:\nextra:x:4242:user\n")
	r := reaper.New(false)
	console, err := os.Create(g.console)
	if err != nil {
		t.Fatal(err)
	}
	s := agent.New(agent.Config{Reaper: r, Root: g.root, Kernel: g.kernel, Console: console})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	g.addr = l.Addr().String()
	g.url = "http://" + g.addr
	transport := &http.Transport{DisableCompression: true}
	g.client = &http.Client{Transport: transport}
	g.process = processpbconnect.NewProcessClient(g.client, g.url, opts...)
	g.fs = filesystempbconnect.NewFilesystemClient(g.client, g.url, opts...)
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		s.Close()
		r.Close()
		console.Close()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return g
}

func (g *guest) write(t testing.TB, name, text string) {
	t.Helper()
	path := filepath.Join(g.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (g *guest) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", g.addr)
}

func (g *guest) init(t testing.TB, req envd.InitRequest) {
	t.Helper()
	if err := envd.Init(t.Context(), g.dial, req); err != nil {
		t.Fatal(err)
	}
}

// eventually polls for an event without a notification.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
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

// as makes a request of a user.
func as[T any](user string, msg *T) *connect.Request[T] {
	req := connect.NewRequest(msg)
	if user != "" {
		req.Header().Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":")))
	}
	return req
}

func wantCode(t *testing.T, err error, code connect.Code, text string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %v", code)
	}
	var ce *connect.Error
	if connect.CodeOf(err) != code {
		t.Fatalf("code %v (%v), want %v", connect.CodeOf(err), err, code)
	}
	if errors.As(err, &ce); text != "" && ce.Message() != text {
		t.Fatalf("message %q, want %q", ce.Message(), text)
	}
}
