//go:build linux

package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/agent/generation"
	"github.com/rundlet/rundlet/envd"
)

// hostnameFile and the others are what init rewrites.
const (
	hostnameFile  = "/etc/hostname"
	hostsFile     = "/etc/hosts"
	machineIDFile = "/etc/machine-id"
)

const (
	maxHostsBytes = 1 << 20
	// The clock may run this far behind or ahead before it is set.
	clockBehind = 50 * time.Millisecond
	clockAhead  = 5 * time.Second
)

// Kernel is what init changes outside the agent. A guest's kernel may refuse
// any of it; the sandbox is usable nevertheless.
type Kernel interface {
	SetHostname(name string) error
	SetTime(t time.Time) error
	AddRandom(seed []byte) error
	SetBootID(id string) error
}

type realKernel struct{}

func (realKernel) SetHostname(name string) error { return unix.Sethostname([]byte(name)) }

func (realKernel) SetTime(t time.Time) error {
	tv := unix.NsecToTimeval(t.UnixNano())
	return unix.Settimeofday(&tv)
}

func (realKernel) AddRandom(seed []byte) error { return os.WriteFile("/dev/urandom", seed, 0) }

const (
	bootIDFile = "/proc/sys/kernel/random/boot_id"
	ownBootID  = generation.Dir + "/boot_id"
)

// coverBootID shows a file of the agent's in place of the kernel's. The mount is
// part of the template's snapshot, so that what is left for init is a write.
func coverBootID() error {
	id, err := os.ReadFile(bootIDFile)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(ownBootID), 0o755); err != nil {
		return err
	}
	if err := overwrite(ownBootID, string(id), 0o444); err != nil {
		return err
	}
	return unix.Mount(ownBootID, bootIDFile, "", unix.MS_BIND, "")
}

func (realKernel) SetBootID(id string) error {
	if err := overwrite(ownBootID, id+"\n", 0o444); err == nil {
		if shown, err := os.ReadFile(bootIDFile); err == nil && string(bytes.TrimSpace(shown)) == id {
			return nil
		}
	}
	// Somebody cleared /run, or took the mount away. gVisor mounts nothing above
	// a file that was deleted.
	_ = unix.Unmount(bootIDFile, unix.MNT_DETACH)
	if err := coverBootID(); err != nil {
		return err
	}
	return overwrite(ownBootID, id+"\n", 0o444)
}

// applyToSystem does what it is allowed to: each step is useful alone, and
// a kernel or a rootfs that refuses one must not keep the sandbox from starting.
func (s *Server) applyToSystem(req envd.InitRequest) {
	if len(req.RandomSeed) > 0 {
		_ = s.kernel.AddRandom(req.RandomSeed)
	}
	if now := time.Now(); !req.Timestamp.IsZero() &&
		(now.Before(req.Timestamp.Add(-clockBehind)) || now.After(req.Timestamp.Add(clockAhead))) {
		_ = s.kernel.SetTime(req.Timestamp)
	}
	if req.Hostname != "" {
		_ = s.kernel.SetHostname(req.Hostname)
		_ = overwrite(s.path(hostnameFile), req.Hostname+"\n", 0o644)
		_ = s.nameInHosts(req.Hostname)
	}
	if req.BootID != "" {
		_ = s.kernel.SetBootID(req.BootID)
	}
	if req.SandboxID != "" {
		// Derived, so that a repeated request gives the same id.
		sum := sha256.Sum256([]byte("machine-id:" + req.SandboxID))
		_ = overwrite(s.path(machineIDFile), hex.EncodeToString(sum[:16])+"\n", 0o444)
	}
}

// ownAddress is the line of /etc/hosts that names this host, as on Debian.
const ownAddress = "127.0.1.1"

// nameInHosts makes the host name resolve without DNS: programs ask for it when
// they start (a Python web server, sudo), and a sandbox without internet access
// would make them wait for the resolver to give up.
func (s *Server) nameInHosts(hostname string) error {
	path := s.path(hostsFile)
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var old []byte
	if err == nil {
		old, err = io.ReadAll(io.LimitReader(f, maxHostsBytes+1))
		f.Close()
		if err != nil || len(old) > maxHostsBytes {
			return errors.Join(err, errors.New("hosts file cannot be changed"))
		}
	}
	var text strings.Builder
	for line := range strings.Lines(string(old)) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == ownAddress {
			continue
		}
		text.WriteString(strings.TrimSuffix(line, "\n") + "\n")
	}
	return overwrite(path, text.String()+ownAddress+" "+hostname+"\n", 0o644)
}

// overwrite replaces a file's text. The guest may have put anything there: a
// link is not followed and a FIFO does not block.
func overwrite(path, text string, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, mode)
	if err != nil {
		return err
	}
	// Not O_TRUNC: some file systems write a file out at once that was emptied
	// and written again.
	if _, err = f.WriteString(text); err == nil {
		err = f.Truncate(int64(len(text)))
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
