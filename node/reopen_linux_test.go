package node_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
)

// config is that of a durable node in directories of the test.
func config(t *testing.T) node.Config {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("sandboxes need root")
	}
	dir := t.TempDir()
	return node.Config{
		Dirs:     layout.Layout{StateDir: filepath.Join(dir, "state"), CacheDir: filepath.Join(dir, "cache"), RunDir: filepath.Join(dir, "run")},
		NoUplink: true, NetworkSlots: -1,
	}
}

// open opens a node, which ends with all of its sandboxes when the test does, however that ends, unless it was shut before.
func open(t *testing.T, cfg node.Config) *node.Node {
	t.Helper()
	n, err := node.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, n, node.EndAll) })
	return n
}

// closed are the nodes that are shut.
var closed sync.Map

// shut closes a node once.
func shut(t *testing.T, n *node.Node, how node.Ending) {
	t.Helper()
	if _, before := closed.LoadOrStore(n, true); before {
		return
	}
	if err := n.Close(how); err != nil {
		t.Error(err)
	}
}

func output(t *testing.T, n *node.Node, sb sandbox.Sandbox, command string) string {
	t.Helper()
	var out strings.Builder
	code, err := n.Agent(sb).Run(t.Context(), client.Command{Args: []string{"sh", "-c", command}, Stdout: &out, Stderr: t.Output()})
	if err != nil || code != 0 {
		t.Fatalf("%s: exit code %d, %v", command, code, err)
	}
	return out.String()
}

// One process opens a state directory twice, one after the other, as a program that
// embeds a node may.
func TestASandboxOutlivesItsNode(t *testing.T) {
	cfg := config(t)
	n := open(t, cfg)
	sb, err := n.Runtime.Create(t.Context(), sandbox.CreateRequest{Template: template.BaseAlias, Timeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	output(t, n, sb, "echo kept > /tmp/file")
	if second, err := node.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("a second node in the same state directory: %v, %v", second, err)
	}
	shut(t, n, node.LeaveAll)
	n = open(t, cfg)
	again, err := n.Runtime.Get(t.Context(), sb.ID)
	if err != nil || again.State != sandbox.StateRunning {
		t.Fatalf("%+v, %v", again, err)
	}
	if got := output(t, n, again, "cat /tmp/file"); got != "kept\n" {
		t.Errorf("the file says %q", got)
	}
	shut(t, n, node.EndAll)
	n = open(t, cfg)
	if _, err := n.Runtime.Get(t.Context(), sb.ID); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("after EndAll: %v", err)
	}
}

func TestANodeOfAnUnknownDriverTouchesNothing(t *testing.T) {
	cfg := config(t)
	cfg.Driver = "xen"
	if _, err := node.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), `driver "xen" is not in this build`) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(cfg.Dirs.StateDir); !os.IsNotExist(err) {
		t.Errorf("it made a state directory: %v", err)
	}
}
