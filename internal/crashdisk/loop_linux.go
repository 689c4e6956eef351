package crashdisk

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// loopTimeout bounds the wait for the kernel to let go of a loop device.
const loopTimeout = 30 * time.Second

// mount puts a loop device on a served file and mounts it. The device is the
// same each time, as a disk has the same number after a reboot. The kernel frees
// it with the last use, also if this process is killed.
func (d *Disk) mount(name string) error {
	backing, err := os.OpenFile(d.served(name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer backing.Close()
	dev, err := d.attach(backing)
	if err != nil {
		return fmt.Errorf("loop device on %s: %w", name, err)
	}
	defer dev.Close()
	if err := unix.Mount(dev.Name(), d.target, "ext4", 0, "errors=remount-ro"); err != nil {
		return fmt.Errorf("mount %s at %s: %w", name, d.target, err)
	}
	return nil
}

// attach returns the open loop device, which is freed at its close if it is not
// mounted by then.
func (d *Disk) attach(backing *os.File) (*os.File, error) {
	config := unix.LoopConfig{Fd: uint32(backing.Fd()), Size: blockSize}
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	var dev *os.File
	err := poll(func() (done bool, err error) {
		index := d.loop
		if index < 0 {
			if index, err = freeLoop(); err != nil {
				return false, err
			}
		}
		if dev, err = os.OpenFile(fmt.Sprintf("/dev/loop%d", index), os.O_RDWR, 0); err != nil {
			return false, err
		}
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &config)
		if err == nil {
			d.loop = index
			return true, nil
		}
		dev.Close()
		// Others may take the same one, and the last use may not be over yet.
		if errors.Is(err, unix.EBUSY) {
			err = nil
		}
		return false, err
	})
	return dev, err
}

func freeLoop() (int, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer control.Close()
	return unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
}

// awaitLoopFree waits until the kernel has let go of our device.
func (d *Disk) awaitLoopFree() error {
	if d.loop < 0 {
		return nil
	}
	name := fmt.Sprintf("/sys/block/loop%d/loop/backing_file", d.loop)
	return poll(func() (bool, error) {
		file, err := os.ReadFile(name)
		return err != nil || !strings.HasPrefix(string(file), d.served("")), nil
	})
}

// poll asks until it is done. The kernel has no event for the end of a loop device.
func poll(ask func() (done bool, err error)) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(loopTimeout); ; {
		if done, err := ask(); done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-deadline:
			return fmt.Errorf("the loop device is still in use after %v", loopTimeout)
		}
	}
}
