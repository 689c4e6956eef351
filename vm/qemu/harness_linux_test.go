package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
	"github.com/rundlet/rundlet/vm/vmtest"
)

// shared is what all tests have, and removeShared removes.
var shared = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "qemushared"); err != nil {
		return "", err
	}
	sharedDir = dir
	root := filepath.Join(dir, "root")
	for _, sub := range append([]string{"", "proc", "sys", "dev", "tmp", "etc", "mnt"}, vmtest.MountPoints()...) {
		if err := os.MkdirAll(filepath.Join(root, sub), 0o755); err != nil {
			return dir, err
		}
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return dir, err
	}
	if err := errors.Join(os.WriteFile(filepath.Join(root, "tmp", ".keep"), nil, 0o644), os.WriteFile(filepath.Join(root, "init"), self, 0o755)); err != nil {
		return dir, err
	}
	image, err := erofs.Make(context.Background(), erofs.Dir(root), dir, erofs.Options{ForGuest: true})
	if err != nil {
		return dir, err
	}
	return dir, os.Rename(image.Path, filepath.Join(dir, "image"))
})

// sharedDir is empty until there is one.
var sharedDir string

func removeShared() {
	if sharedDir != "" {
		_ = os.RemoveAll(sharedDir)
	}
}

func rootImage(t testing.TB) string {
	t.Helper()
	dir, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "image")
}

// kernelEnv is the directory of a kernel package that was extracted.
const kernelEnv = "RUNDLET_TEST_KERNEL"

var installed = sync.OnceValues(func() (string, error) {
	dir, err := shared()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "kernels")
	_, err = kernel.Install(context.Background(), dir, os.Getenv(kernelEnv), nil)
	return dir, err
})

// kernels is a directory with an installed kernel.
func kernels(t testing.TB) string {
	t.Helper()
	if os.Getenv(kernelEnv) == "" {
		t.Skip("needs a guest kernel; make microvm and make test have one")
	}
	dir, err := installed()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var instances atomic.Int64

// newDriver opens a new driver below a short temporary directory.
func newDriver(t testing.TB) *Driver {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("", "qm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	conf := Config{StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"), Kernels: kernels(t),
		Instance: fmt.Sprintf("test-%d-%d", os.Getpid(), instances.Add(1))}
	return open(t, conf)
}

func open(t testing.TB, conf Config) *Driver {
	t.Helper()
	d, err := New(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

var links atomic.Int64

// guestSpec is a machine with a separate network namespace, connected to the tests' namespace.
func guestSpec(t testing.TB) vm.Spec {
	t.Helper()
	spec := vm.Spec{Rootfs: rootImage(t), Args: []string{"/init"}, Cwd: "/", MemoryMiB: 128, DiskMiB: 64}
	spec.NetNS, spec.GuestIP = makeNetNS(t, int(links.Add(1)))
	return spec
}

// makeNetNS makes a network namespace with an eth0 that the tests can reach.
func makeNetNS(t testing.TB, n int) (path, guestIP string) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	here, err := netns.Get()
	must(err)
	defer here.Close()
	there, err := netns.New()
	must(err)
	defer there.Close()
	must(netns.Set(here))
	file, err := os.CreateTemp("", "qmns")
	must(err)
	must(file.Close())
	path = file.Name()
	must(unix.Mount(fmt.Sprintf("/proc/self/fd/%d", int(there)), path, "", unix.MS_BIND, ""))
	host := fmt.Sprintf("vh%d", n)
	t.Cleanup(func() {
		if link, err := netlink.LinkByName(host); err == nil {
			_ = netlink.LinkDel(link)
		}
		_ = unix.Unmount(path, unix.MNT_DETACH)
		_ = os.Remove(path)
	})
	must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: host}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(there))}))
	up := func(h *netlink.Handle, name string, ip net.IP) netlink.Link {
		link, err := h.LinkByName(name)
		must(err)
		if ip != nil {
			must(h.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(30, 32)}}))
		}
		must(h.LinkSetUp(link))
		return link
	}
	gateway, guest := net.IPv4(10, 200, byte(n>>6), byte(n<<2+1)), net.IPv4(10, 200, byte(n>>6), byte(n<<2+2))
	outer, err := netlink.NewHandle()
	must(err)
	defer outer.Close()
	inner, err := netlink.NewHandleAt(there)
	must(err)
	defer inner.Close()
	up(outer, host, gateway)
	up(inner, "lo", nil)
	eth := up(inner, "eth0", guest)
	must(inner.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: gateway}))
	return path, guest.String()
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}
