// Package layout says where Rundlet keeps things on disk. It may import the
// standard library only; cmd and the packages that are given a Layout use it.
//
//	StateDir   durable: database, snapshots, template root file systems
//	CacheDir   can be deleted at any time without losing a sandbox
//	RunDir     gone after a reboot: sockets, namespaces, what runs now
//
// None of them is ever under the temp directory.
package layout

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
)

// The environment variables that move the directories. An explicit flag wins
// over the variable; the variable's value is used exactly.
const (
	EnvStateDir = "RUNDLET_STATE_DIR"
	EnvCacheDir = "RUNDLET_CACHE_DIR"
	EnvRunDir   = "RUNDLET_RUN_DIR"
)

// Layout is the set of root directories, all absolute.
type Layout struct {
	StateDir string
	CacheDir string
	RunDir   string
}

// Resolve makes a Layout of explicit values (empty: not given), then the
// environment, then the defaults ~/.rundlet/state, ~/.rundlet/cache and
// /run/rundlet, or for an ordinary user $XDG_RUNTIME_DIR/rundlet. Without a home directory the defaults are relative to the
// working directory.
func Resolve(explicit Layout, getenv func(string) string) (Layout, error) {
	pick := func(flag, env, fallback string) (string, error) {
		dir := fallback
		if v := getenv(env); v != "" {
			dir = v
		}
		if flag != "" {
			dir = flag
		}
		abs, err := filepath.Abs(dir)
		if err != nil {
			return "", fmt.Errorf("resolve %s: %w", env, err)
		}
		return abs, nil
	}
	home := getenv("HOME")
	var l Layout
	var err error
	if l.StateDir, err = pick(explicit.StateDir, EnvStateDir, filepath.Join(home, ".rundlet", "state")); err != nil {
		return Layout{}, err
	}
	if l.CacheDir, err = pick(explicit.CacheDir, EnvCacheDir, filepath.Join(home, ".rundlet", "cache")); err != nil {
		return Layout{}, err
	}
	if l.RunDir, err = pick(explicit.RunDir, EnvRunDir, runDir(os.Geteuid(), getenv("XDG_RUNTIME_DIR"))); err != nil {
		return Layout{}, err
	}
	return l, nil
}

// runDir is the default of RunDir for a user.
func runDir(user int, ofUser string) string {
	if user == 0 {
		return "/run/rundlet"
	}
	if ofUser == "" { // Where it is, unless the session was opened without one.
		ofUser = filepath.Join("/run/user", strconv.Itoa(user))
	}
	return filepath.Join(ofUser, "rundlet")
}

// Database is the path of the SQLite file.
func (l Layout) Database() string { return filepath.Join(l.StateDir, "rundlet.db") }

// Templates is where the root file systems of templates are kept.
func (l Layout) Templates() string { return filepath.Join(l.StateDir, "templates") }

// Base is where the root file systems of the template "base" are kept.
func (l Layout) Base() string { return filepath.Join(l.Templates(), "base") }

// Images is where container images are kept as root file systems.
func (l Layout) Images() string { return filepath.Join(l.StateDir, "images") }

// DriverState is where a driver keeps what must survive a reboot.
func (l Layout) DriverState(driver string) string {
	return filepath.Join(l.StateDir, "drivers", driver)
}

// Kernels is where the kernels are kept that guests boot, for drivers that boot one.
func (l Layout) Kernels() string { return filepath.Join(l.StateDir, "kernels") }

// Pulls is where the files of templates are kept while they come from elsewhere.
func (l Layout) Pulls() string { return filepath.Join(l.StateDir, "pulls") }

// AgentDir is where the agent binary is unpacked.
func (l Layout) AgentDir() string { return filepath.Join(l.CacheDir, "agent") }

// Uploads is where the files are kept that clients upload for builds of templates. A client uploads
// again what is not there.
func (l Layout) Uploads() string { return filepath.Join(l.CacheDir, "uploads") }

// Certificates is where the authority of a domain is kept, if the daemon has one.
func (l Layout) Certificates(domain string) string { return filepath.Join(l.StateDir, "tls", domain) }

// EgressAuthority is where the authority is kept that sandboxes trust whose requests get headers.
func (l Layout) EgressAuthority() string { return filepath.Join(l.StateDir, "egress-ca") }

// Instance names the daemon that serves this state directory: the same after
// every restart, another for another directory. It is short, since it becomes
// part of network interface names.
func (l Layout) Instance() string {
	sum := sha256.Sum256([]byte(l.StateDir))
	return "d" + hex.EncodeToString(sum[:3])
}

// InstanceDir is the run directory of one instance.
func (l Layout) InstanceDir(instance string) string { return filepath.Join(l.RunDir, instance) }

// Make creates the directories, private to the owner. Those that exist with
// another mode are made private, which is logged, or refused: see private. The
// state directory is on the disk when it returns: what is saved in it must not go
// with its name.
func (l Layout) Make(log *slog.Logger) error {
	if err := makeDurably(l.StateDir); err != nil {
		return fmt.Errorf("make %s: %w", l.StateDir, err)
	}
	for _, dir := range []string{l.CacheDir, l.RunDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make %s: %w", dir, err)
		}
	}
	for variable, dir := range map[string]string{EnvStateDir: l.StateDir, EnvCacheDir: l.CacheDir, EnvRunDir: l.RunDir} {
		if err := private(dir, []string{l.StateDir, l.CacheDir, l.RunDir}, log); err != nil {
			return fmt.Errorf("keep %s private: %w (%s and a flag give another directory)", dir, err, variable)
		}
	}
	return nil
}

// makeDurably is os.MkdirAll that syncs the parent of each directory it makes.
func makeDurably(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent == dir {
		return os.MkdirAll(dir, 0o700)
	}
	if err := makeDurably(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.Open(parent)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
