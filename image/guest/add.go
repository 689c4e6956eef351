//go:build linux

package guest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/image/tree"
)

// Config says what is added to the tree of an image.
type Config struct {
	// AgentPath is the agent's binary on this host. An image has a copy.
	AgentPath string
	// Nameservers are written to resolv.conf; none is DefaultNameservers.
	Nameservers []string
}

// format is the version of what Add does; see Config.ID.
const format = 1

// maxAccounts bounds each account file of an image.
const maxAccounts = 1 << 20

// ID is a digest of all that Add adds, but for what it takes from the image.
func (c Config) ID() (string, error) {
	f, err := os.Open(c.AgentPath)
	if err != nil {
		return "", fmt.Errorf("agent: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	fmt.Fprintf(h, "guest-%d\n%s", format, ResolvConf(c.nameservers()))
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("agent: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}

func (c Config) nameservers() []string {
	if len(c.Nameservers) == 0 {
		return DefaultNameservers
	}
	return c.Nameservers
}

// Env is the environment of the agent in an image whose configuration has env.
func Env(env []string) []string {
	return []string{"PATH=" + searchPath(env), "HOME=/root", "LANG=C.UTF-8"}
}

// Add makes a root of the tree of an image, whose configuration has env. The caller closes the
// agent's file, which is returned, when the tree is no longer in use. An error is one of this
// host, or says which file of the image is in the way.
func Add(t *tree.Tree, env []string, c Config) (io.Closer, error) {
	agent, err := os.Open(c.AgentPath)
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	if err := (&adder{tree: t}).add(agent, env, c); err != nil {
		agent.Close()
		return nil, err
	}
	return agent, nil
}

// KeepTmp puts a file into an empty /tmp: over such a one gVisor mounts a tmpfs, which would take memory.
func KeepTmp(t *tree.Tree) error {
	dir, err := t.Lookup("tmp")
	if err != nil || dir.Mode&unix.S_IFMT != unix.S_IFDIR || t.Len("tmp") > 0 {
		return nil //nolint:nilerr // There is none.
	}
	return t.Put("tmp/.keep", erofs.File{Mode: unix.S_IFREG | 0o644, Modified: time.Unix(0, 0)}, tree.Content{})
}

// adder keeps the first error.
type adder struct {
	tree *tree.Tree
	err  error
}

func (a *adder) add(agent *os.File, env []string, c Config) error {
	info, err := agent.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return errors.Join(err, fmt.Errorf("agent %s is not a regular file", c.AgentPath))
	}
	program, err := SudoProgram()
	if err != nil {
		return err
	}
	a.check("/"+Dir, a.tree.Remove(Dir)) // An image may come with another one, or with a link.
	a.put(AgentPath, unix.S_IFREG|0o755, 0, 0, info.Size(), agent)
	a.file(SudoPath, unix.S_ISUID|0o755, program)
	for _, dir := range []string{"dev", "proc", "sys", "run", "home", "etc", "root", "var"} {
		a.dir(dir, 0o755, false)
	}
	for _, dir := range []string{"tmp", "var/tmp"} {
		a.dir(dir, unix.S_ISVTX|0o777, true)
	}
	a.check("tmp", KeepTmp(a.tree))
	a.file("etc/hostname", 0o644, Hostname)
	a.file("etc/hosts", 0o644, Hosts)
	a.file("etc/resolv.conf", 0o644, ResolvConf(c.nameservers()))
	a.file("etc/machine-id", 0o644, "") // Empty means not set yet: every sandbox must get its own.
	if !a.has("etc/nsswitch.conf") {
		a.file("etc/nsswitch.conf", 0o644, "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n")
	}
	for _, name := range BrowserPolicies {
		a.file(name, 0o644, BrowserPolicy)
	}
	a.login(env)
	return a.err
}

// login adds the accounts, and what login shells of them need.
func (a *adder) login(env []string) {
	shell := "/bin/bash"
	if hasShell := a.has("bin/sh"); hasShell && !a.has("bin/bash") {
		// SDKs of E2B run each command by this path.
		a.file("bin/bash", 0o755, "#!/bin/sh\nexec /bin/sh \"$@\"\n")
	} else if !hasShell && !a.has("bin/bash") {
		shell = "/bin/sh"
	}
	accounts := &accounts{passwd: a.lines("etc/passwd"), group: a.lines("etc/group"), shadow: a.lines("etc/shadow")}
	accounts.withUser(shell)
	shadowGID := uint32(0)
	if f := line(accounts.group, "shadow", 4); f != nil {
		shadowGID = number(f[2])
	}
	a.file("etc/passwd", 0o644, strings.Join(accounts.passwd, "\n")+"\n")
	a.file("etc/group", 0o644, strings.Join(accounts.group, "\n")+"\n")
	a.owned("etc/shadow", 0o640, 0, shadowGID, strings.Join(accounts.shadow, "\n")+"\n")
	if !a.has(accounts.home) {
		a.put(accounts.home, unix.S_IFDIR|0o755, accounts.uid, accounts.gid, 0, nil)
		for name, content := range DotFiles {
			a.owned(accounts.home+"/"+name, 0o644, accounts.uid, accounts.gid, content)
		}
	}
	if a.has("etc/sudoers.d") { // For an image that has sudo installed.
		a.file("etc/sudoers.d/rundlet", 0o440, "user ALL=(ALL:ALL) NOPASSWD: ALL\n")
	}
	if a.has("usr/bin") && !a.has("usr/bin/sudo") {
		// For a PATH without ours, and programs that know where sudo is.
		a.check("usr/bin/sudo", a.tree.Put("usr/bin/sudo", erofs.File{Mode: unix.S_IFLNK | 0o777, Target: SudoPath, Modified: time.Unix(0, 0)}, tree.Content{}))
	}
	path := searchPath(env)
	profile, err := a.tree.ReadFile("etc/profile", maxAccounts)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		a.file("etc/profile", 0o644, Profile(path))
	case err != nil:
		a.check("etc/profile", err)
	default:
		a.file("etc/profile", 0o644, keepPath(string(profile), path))
	}
}

func (a *adder) has(path string) bool {
	_, err := a.tree.Lookup(path)
	return err == nil
}

func (a *adder) lines(path string) []string {
	data, err := a.tree.ReadFile(path, maxAccounts)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.check(path, err)
	}
	return lines(data)
}

// dir makes a directory, unless one is there; force gives that the mode.
func (a *adder) dir(path string, mode uint32, force bool) {
	if f, err := a.tree.Lookup(path); err == nil && f.Mode&unix.S_IFMT == unix.S_IFDIR {
		own, err := a.tree.Stat(path)
		if !force || err != nil || own.Mode&unix.S_IFMT != unix.S_IFDIR {
			return
		}
	}
	a.put(path, unix.S_IFDIR|mode, 0, 0, 0, nil)
}

func (a *adder) file(path string, mode uint32, content string) {
	a.owned(path, mode, 0, 0, content)
}

func (a *adder) owned(path string, mode, uid, gid uint32, content string) {
	a.put(path, unix.S_IFREG|mode, uid, gid, int64(len(content)), strings.NewReader(content))
}

func (a *adder) put(path string, mode, uid, gid uint32, size int64, at io.ReaderAt) {
	a.check(path, a.tree.Put(path, erofs.File{Mode: mode, UID: uid, GID: gid, Modified: time.Unix(0, 0), Size: size}, tree.Content{At: at}))
}

func (a *adder) check(path string, err error) {
	if err != nil && a.err == nil {
		a.err = fmt.Errorf("add %.300q to the image: %w", path, err)
	}
}
