//go:build linux

package tap

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/netns"
)

// TestADeviceForAnotherUserEndsWithItsProcess: here this process is the one that opens it by its name.
func TestADeviceForAnotherUserEndsWithItsProcess(t *testing.T) {
	p := newPair(t)
	find := func() (tap *netlink.Tuntap) {
		in(t, p.here, func() error {
			l, err := netlink.LinkByName(device)
			if errors.As(err, new(netlink.LinkNotFoundError)) {
				return nil
			}
			tap, _ = l.(*netlink.Tuntap)
			return err
		})
		return tap
	}
	made := func() (err error) { return netns.At(p.here, func() error { _, err := Make(1234); return err }) }
	for range 2 { // The second finds what the first left.
		if err := made(); err != nil {
			t.Fatal(err)
		}
		if tap := find(); tap == nil || tap.Owner != 1234 {
			t.Fatalf("the device is %+v", tap)
		}
	}
	if err := Bind(os.Getpid()); err == nil {
		t.Error("no error of a process without the device")
	}
	for range 2 {
		in(t, p.here, Remove)
	}
	if tap := find(); tap != nil {
		t.Errorf("it is not removed: %+v", tap)
	}
	if err := made(); err != nil {
		t.Fatal(err)
	}
	var file *os.File
	in(t, p.here, func() (err error) {
		file, err = open()
		return err
	})
	// The kernel lets the device send soon after it was opened.
	for deadline := time.Now().Add(patience); find().OperState != netlink.OperUp; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the device sends nothing")
		}
	}
	p.passes(t, file)
	if err := made(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("while it is open: %v", err)
	}
	if err := Bind(os.Getpid()); err != nil {
		t.Error(err)
	}
	p.passes(t, file)
	file.Close()
	if tap := find(); tap != nil {
		t.Errorf("it is left: %+v", tap)
	}
}
