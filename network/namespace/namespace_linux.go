package namespace

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/netns"
)

// Own is the path of the calling thread's network namespace.
const Own = netns.Own

// In runs fn on a thread that is in the namespace ns, and nowhere else
// before and after. fn must not start goroutines that rely on it.
func In(ns *os.File, fn func() error) error { return netns.In(ns, fn) }

// InNew runs fn on a thread that is in a fresh network namespace. The
// namespace goes when nothing refers to it any more.
func InNew(fn func() error) error { return netns.InNew(fn) }

// Create makes a network namespace, bound to the new file path, and runs
// setup inside it. On failure nothing is left.
func Create(path string, setup func() error) error {
	return InNew(func() (err error) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o400)
		if err != nil {
			return err
		}
		f.Close()
		defer func() {
			if err != nil {
				err = errors.Join(err, Remove(path))
			}
		}()
		if err := unix.Mount(Own, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind network namespace to %s: %w", path, err)
		}
		return setup()
	})
}

// Remove unbinds a namespace and removes its file. A path that is gone is
// not an error. The kernel frees the namespace when no process, socket or open
// file refers to it.
func Remove(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err == nil {
			continue // Mounts stack.
		}
		if err == unix.ENOENT || err == unix.EINVAL {
			break
		}
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Open opens a bound namespace. ok is false if the file is missing or is
// not a namespace, as after a reboot.
func Open(path string) (f *os.File, ok bool, err error) {
	f, err = os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, false, fmt.Errorf("stat %s: %w", path, err)
	}
	if st.Type != unix.NSFS_MAGIC {
		f.Close()
		return nil, false, nil
	}
	return f, true, nil
}

// WriteSysctl sets net.* key of the calling thread's network namespace.
func WriteSysctl(key, value string) error {
	return os.WriteFile(filepath.Join("/proc/sys/net", key), []byte(value), 0)
}

// DisableIPv6 turns IPv6 off in the calling thread's network namespace, for the
// interfaces that exist and those to come. A kernel without IPv6 is fine.
func DisableIPv6() error {
	return errors.Join(switchIPv6("all", "1"), switchIPv6("default", "1"))
}

// LoopbackIPv6 turns IPv6 on for the loopback of the calling thread's network
// namespace only. The kernel then gives it ::1, and a sandbox takes it over:
// localhost has both families, as on any host.
func LoopbackIPv6() error { return switchIPv6("lo", "0") }

func switchIPv6(conf, disabled string) error {
	err := WriteSysctl("ipv6/conf/"+conf+"/disable_ipv6", disabled)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
