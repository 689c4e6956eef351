package namespace

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"

	"golang.org/x/sys/unix"
)

// own names the namespace of the calling thread, which may not be that of the test.
func own(t *testing.T) string {
	t.Helper()
	name, err := os.Readlink(Own)
	if err != nil {
		t.Error(err)
	}
	return name
}

func TestANamespaceIsEnteredLeftAndRemoved(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	path := filepath.Join(t.TempDir(), "ns")
	outside := own(t)
	var made string
	err := Create(path, func() error {
		made = own(t)
		return DisableIPv6()
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Remove(path) })
	if made == outside {
		t.Error("setup ran in the namespace of the caller")
	}
	if err := Create(path, func() error { return nil }); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second namespace of the same path: %v", err)
	}
	f, ok, err := Open(path)
	if err != nil || !ok {
		t.Fatalf("open: %v, %v", ok, err)
	}
	defer f.Close()
	failed := errors.New("failed")
	if err := In(f, func() error {
		if inside := own(t); inside != made {
			t.Errorf("inside is %s, want %s", inside, made)
		}
		return failed
	}); !errors.Is(err, failed) {
		t.Errorf("the error of fn is %v", err)
	}
	if now := own(t); now != outside {
		t.Errorf("afterwards in %s, want %s", now, outside)
	}
	if err := errors.Join(Remove(path), Remove(path)); err != nil {
		t.Errorf("remove twice: %v", err)
	}
	if _, ok, err := Open(path); ok || err != nil {
		t.Errorf("open after the removal: %v, %v", ok, err)
	}
}

func TestCreateLeavesNothingWhenSetupFails(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	dir := t.TempDir()
	failed := errors.New("failed")
	if err := Create(filepath.Join(dir, "ns"), func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("the error of setup is %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestAFileThatIsNotANamespaceIsNotOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ns")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := Open(path); ok || err != nil {
		t.Errorf("opened a file as a namespace: %v, %v", ok, err)
	}
}

func TestTCPWithinANamespace(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	path := filepath.Join(t.TempDir(), "ns")
	err := Create(path, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Remove(path) })
	ns, _, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	ln, err := ListenTCP(ns)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort(ln.Addr().String())
	c, err := DialTCP(t.Context(), ns, addr)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	ln.Close()
	if _, err := DialTCP(t.Context(), ns, addr); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("without a listener: %v", err)
	}
	for _, bad := range []netip.AddrPort{{}, netip.AddrPortFrom(addr.Addr(), 0), netip.MustParseAddrPort("[::1]:80")} {
		if _, err := DialTCP(t.Context(), ns, bad); err == nil {
			t.Errorf("connected to %v", bad)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := DialTCP(ended, ns, addr); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}
