package node_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/rundlet/rundlet/agent/embedded"
	"github.com/rundlet/rundlet/image/catalogue"
	"github.com/rundlet/rundlet/image/guest"
	"github.com/rundlet/rundlet/image/oci/ocitest"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
)

// load puts an image into the catalogue of a node.
func load(t *testing.T, cfg node.Config, reference string, image v1.Image) {
	t.Helper()
	tag, err := name.NewTag(reference)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	errA, errB := tarball.WriteToFile(file, tag, image), os.MkdirAll(cfg.Dirs.AgentDir(), 0o700)
	agent, errC := embedded.Extract(cfg.Dirs.AgentDir())
	if err := errors.Join(errA, errB, errC); err != nil {
		t.Fatal(err)
	}
	c, err := catalogue.Open(catalogue.Config{Dir: cfg.Dirs.Images(), Guest: guest.Config{AgentPath: agent}})
	if err == nil {
		_, err = c.Load(t.Context(), file, "", nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestSandboxesAreVirtualMachines has the whole life of sandboxes that are virtual machines: by QEMU where RUNDLET_TEST_KERNEL is the directory of a
// kernel package, and by Firecracker in a test machine (scripts/nested).
func TestSandboxesAreVirtualMachines(t *testing.T) {
	from := os.Getenv("RUNDLET_TEST_KERNEL")
	if from == "" {
		t.Skip("needs a guest kernel; make microvm has one")
	}
	cfg := config(t)
	cfg.Driver, cfg.BaseContainer = "qemu", "mine/programs:1"
	if os.Getenv("RUNDLET_TEST_FIRECRACKER") != "" {
		cfg.Driver = "firecracker"
	}
	cfg.Size = sandbox.Size{VCPUs: 1, MemoryMiB: 192, DiskMiB: 1024} // A test machine saves and reads memory slowly.
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	files, errA := ocitest.HostPrograms("sh", "cat", "id", "mkdir", "chown", "env", "sleep")
	layer, errB := ocitest.Layer(append(files, ocitest.Symlink("bin", "usr/bin"), ocitest.Symlink("lib", "usr/lib"), ocitest.Symlink("lib64", "usr/lib64"))...)
	image, errC := ocitest.Image(v1.Config{Env: []string{"PATH=/usr/bin:/bin"}}, layer)
	if err := errors.Join(errA, errB, errC); err != nil {
		t.Fatal(err)
	}
	load(t, cfg, cfg.BaseContainer, image)
	if _, err := kernel.Install(t.Context(), cfg.Dirs.Kernels(), from, nil); err != nil {
		t.Fatal(err)
	}

	n := open(t, cfg)
	create := func(from string) sandbox.Sandbox {
		t.Helper()
		begin := time.Now()
		sb, err := n.Runtime.Create(t.Context(), sandbox.CreateRequest{Template: from, Timeout: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("create of %s: %v", from, time.Since(begin).Round(time.Millisecond))
		return sb
	}
	// What runs and what was written goes on; the name is the sandbox's.
	check := func(sb sandbox.Sandbox) {
		t.Helper()
		begin := time.Now()
		if got, want := output(t, n, sb, `kill -0 "$(cat /tmp/pid)" && echo alive; cat /tmp/file /etc/hostname`), "alive\nkept\n"+sb.ID+"\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		t.Logf("a command: %v", time.Since(begin).Round(time.Millisecond))
	}
	sb := create("base")
	if got := output(t, n, sb, "id -un; cat /proc/sys/kernel/ostype; sleep 100000 >/dev/null 2>&1 </dev/null & echo $! >/tmp/pid; echo kept >/tmp/file"); got != "user\nLinux\n" {
		t.Errorf("got %q", got)
	}
	check(sb)
	if err := n.Runtime.Pause(t.Context(), sb.ID, true); err != nil {
		t.Fatal(err)
	}
	if _, resumed, err := n.Runtime.Connect(t.Context(), sb.ID, time.Hour); err != nil || !resumed {
		t.Fatalf("resumed %v, %v", resumed, err)
	}
	check(sb)
	forks, err := n.Runtime.Fork(t.Context(), sb.ID, sandbox.ForkRequest{Count: 2, Timeout: time.Hour})
	if err != nil || len(forks) != 2 {
		t.Fatalf("%+v, %v", forks, err)
	}
	for _, fork := range forks {
		if fork.Err != nil {
			t.Fatal(fork.Err)
		}
		check(fork.Sandbox)
		if err := n.Runtime.Kill(t.Context(), fork.Sandbox.ID); err != nil {
			t.Error(err)
		}
	}
	snapshot, err := n.Runtime.Snapshot(t.Context(), sb.ID, "saved", "")
	if err != nil {
		t.Fatal(err)
	}
	of := create(snapshot.ID)
	check(of)
	if err := n.Runtime.Kill(t.Context(), of.ID); err != nil { // It is a machine of 3 GiB.
		t.Error(err)
	}
	slow := os.Getenv("RUNDLET_TEST_SLOWNESS") != "" // A boot takes longer in a test machine than the daemon waits.
	if !slow {
		text := build(t, n, sandbox.TemplateRequest{Name: "mine", VCPUs: sb.VCPUs, MemoryMiB: sb.MemoryMiB}, sandbox.Recipe{FromTemplate: "base", Steps: []sandbox.RecipeStep{{Type: "RUN", Args: []string{"mkdir -p /srv && echo built >/srv/file", "root"}}}})
		if got := output(t, n, create("mine"), "cat /srv/file"); got != "built\n" {
			t.Errorf("got %q; the build said\n%s", got, text)
		}
	}
	shut(t, n, node.LeaveAll)
	n = open(t, cfg)
	check(sb)
	if !slow {
		if err := n.Runtime.Pause(t.Context(), sb.ID, false); err != nil {
			t.Fatal(err)
		}
		if _, _, err := n.Runtime.Connect(t.Context(), sb.ID, time.Hour); err != nil {
			t.Fatal(err)
		}
		if got := output(t, n, sb, "cat /tmp/file"); got != "kept\n" {
			t.Errorf("of its files alone it has %q", got)
		}
	}
	shut(t, n, node.EndAll)
}
