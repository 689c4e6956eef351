package testmachine

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm/microvm/kernel"
)

// testKernel is the kernel that scripts/testkernel makes. Without the variable the tests that boot it
// are left to make conformance; with it, a kernel that is not there fails them.
func testKernel(t *testing.T) kernel.Tree {
	t.Helper()
	dir := os.Getenv("RUNDLET_TEST_KERNEL")
	if dir == "" {
		t.Skip("RUNDLET_TEST_KERNEL is not set: make conformance runs this test")
	}
	k, err := kernel.Find(dir)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// config runs a shell command in a small machine.
func config(t *testing.T, script string, output *bytes.Buffer) Config {
	t.Helper()
	k := testKernel(t)
	files, err := Programs("sh", "cat", "sleep")
	if err != nil {
		t.Fatal(err)
	}
	return Config{Kernel: k, MemoryMiB: 512, CPUs: 2, Files: files, Output: output, Env: []string{"PATH=/bin", "COLOUR=green"},
		Command: []string{"/bin/sh", "-c", script}}
}

// patience is for a machine that is emulated on a busy host.
func patience(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestAMachineRunsACommand(t *testing.T) {
	file := t.TempDir() + "/large"
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	c := config(t, `cat /proc/sys/kernel/osrelease; cat /sys/fs/cgroup/cgroup.controllers; echo $COLOUR; echo error >&2; cat /some/large; exit 7`, &output)
	c.Files["/some/large"] = file
	c.Modules = []string{"veth"}
	code, err := Run(patience(t), c)
	if err != nil || code != 7 {
		t.Fatalf("exit code %d, %v", code, err)
	}
	host, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	release, rest, _ := strings.Cut(output.String(), "\n")
	if release == "" || release == strings.TrimSpace(string(host)) {
		t.Errorf("the machine's kernel is %q, as the host's", release)
	}
	if want := "cpuset cpu io memory hugetlb pids rdma misc\ngreen\nerror\n" + string(content); rest != want {
		t.Errorf("%d bytes of output, want %d: %.200q", len(rest), len(want), rest)
	}
}

func TestANestedMachineHasAKVM(t *testing.T) {
	var output bytes.Buffer
	c := config(t, `test -c /dev/kvm && test -c /dev/net/tun && cat /sys/module/kvm_amd/parameters/npt`, &output)
	c.CPUs, c.Nested = 1, true
	code, err := Run(patience(t), c)
	if err != nil || code != 0 || output.String() != "Y\n" {
		t.Fatalf("exit code %d, %q, %v", code, output.String(), err)
	}
}

func TestAMachineThatFailsSaysWhy(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"a command that is not there": {func(c *Config) { c.Command[0] = "/bin/nothing" }, "/bin/nothing"},
		"a panic of the kernel":       {func(c *Config) { c.Command[2] = "echo c >/proc/sysrq-trigger; sleep 600" }, "sysrq triggered crash"},
		"files beyond its memory":     {func(c *Config) { c.Files["/large"] = sparse(t, 1<<30) }, "no space left"},
		"an unknown module":           {func(c *Config) { c.Modules = []string{"nonsense"} }, `no "nonsense"`},
		"a file with a relative path": {func(c *Config) { c.Files["some/file"] = "/proc/version" }, "absolute"},
		"a file that is a directory":  {func(c *Config) { c.Files["/some"] = t.TempDir() }, "regular file"},
		"a KVM with two processors":   {func(c *Config) { c.Nested = true }, "one processor"},
		"no command":                  {func(c *Config) { c.Command = nil }, "no command"},
	} {
		t.Run(name, func(t *testing.T) {
			conf := config(t, "exit 0", nil)
			c.change(&conf)
			if code, err := Run(patience(t), conf); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("exit code %d, %v; want an error with %q", code, err, c.want)
			}
		})
	}
}

func sparse(t *testing.T, size int64) string {
	t.Helper()
	file := t.TempDir() + "/sparse"
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, size)); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAMachineEndsWithItsContextAndLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancelCause(patience(t))
	enough := errors.New("enough")
	conf := config(t, "echo ready; sleep 600", nil)
	conf.Output = writer(func(p []byte) (int, error) {
		cancel(enough)
		return len(p), nil
	})
	if _, err := Run(ctx, conf); !errors.Is(err, enough) || !errors.Is(err, ErrMachine) {
		t.Errorf("the error is %v", err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
	processes, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range processes {
		arguments, _ := os.ReadFile("/proc/" + process.Name() + "/cmdline")
		if bytes.Contains(arguments, []byte(os.TempDir()+"/testmachine")) {
			t.Errorf("process %s is left: %q", process.Name(), arguments)
		}
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestTmpIsOnTheDiskIfThereIsOne(t *testing.T) {
	var output bytes.Buffer
	conf := config(t, "cat /proc/mounts", &output)
	conf.DiskMiB = 64
	if code, err := Run(patience(t), conf); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v", code, err)
	}
	if !strings.Contains(output.String(), " /tmp ext4 rw,") {
		t.Errorf("the mounts are\n%s", &output)
	}
}

// TestKVMIsUsedOnlyWhereItWorks boots a machine in the way that the probe chose.
func TestKVMIsUsedOnlyWhereItWorks(t *testing.T) {
	conf := config(t, "exit 0", nil)
	conf.KVM = KVMWorks(patience(t), conf.Kernel)
	if code, err := Run(patience(t), conf); err != nil || code != 0 {
		t.Errorf("KVM %t: exit code %d, %v", conf.KVM, code, err)
	}
}

func TestProgramsComeWithTheirLibraries(t *testing.T) {
	files, err := Programs("sh")
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Join(sorted(files), " ")
	for _, want := range []string{"/bin/sh", "libc.so.6", "/ld-linux"} {
		if !strings.Contains(names, want) {
			t.Errorf("there is no %s among %s", want, names)
		}
	}
	if _, err := Programs("no-such-program"); err == nil {
		t.Error("a program that is not there was found")
	}
}

func sorted(files map[string]string) (names []string) {
	for name := range maps.Keys(files) {
		names = append(names, name)
	}
	return names
}

func TestModulesComeAfterThoseThatTheyNeed(t *testing.T) {
	k := testKernel(t)
	files, err := k.Load([]string{"virtio_net", "virtio-net"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		names = append(names, strings.TrimSuffix(file[strings.LastIndex(file, "/")+1:], ".ko"))
	}
	list := " " + strings.Join(names, " ") + " "
	for _, pair := range [][2]string{{"failover", "net_failover"}, {"net_failover", "virtio_net"}, {"virtio_ring", "virtio_net"}} {
		before, after := strings.Index(list, " "+pair[0]+" "), strings.Index(list, " "+pair[1]+" ")
		if before < 0 || after < before {
			t.Errorf("%s must come before %s: %s", pair[0], pair[1], list)
		}
	}
	if strings.Count(list, " virtio_net ") != 1 {
		t.Errorf("a module is loaded twice: %s", list)
	}
}
