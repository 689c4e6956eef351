//go:build linux

package hostbase

import (
	_ "embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rundlet/rundlet/image/guest"
)

// The ids are those that every Debian gives; the user is E2B's.
const (
	userID    = 1000
	shadowGID = 42
)

var (
	//go:embed files/passwd
	passwdFile string
	//go:embed files/group
	groupFile string
	//go:embed files/bash.bashrc
	bashrcFile string
	//go:embed files/login.defs
	loginDefsFile string
)

// plan returns the whole tree of a base.
func plan(cfg Config) (*tree, error) {
	t := &tree{entries: map[string]entry{}}
	if err := t.addTopLinks(cfg.HostRoot); err != nil {
		return nil, err
	}
	var err error
	if t.changed, err = t.addHostFiles(cfg.HostRoot); err != nil {
		return nil, fmt.Errorf("configuration of the host: %w", err)
	}
	t.addDirectories()
	t.addAccounts()
	t.addLogin()
	t.addSystem(cfg)
	t.addHomes()
	t.addBrowsers()
	if err := t.addFirstBoot(cfg.HostRoot); err != nil {
		return nil, err
	}
	return t, t.addAgent(cfg)
}

func (t *tree) addDirectories() {
	for _, name := range []string{
		"usr", "dev", "proc", "sys", "run", "run/user", "home", "opt", "srv", "mnt", "media", "boot",
		"var/backups", "var/cache/apt/archives/partial", "var/lib/apt/lists/partial", "var/lib/dpkg/info",
		"var/lib/dpkg/updates", "var/lib/dpkg/triggers", "var/lib/dpkg/alternatives", "var/lib/misc",
		"var/local", "var/log/apt", "var/mail", "var/opt", "var/spool",
		"etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/sources.list.d", "etc/apt/trusted.gpg.d",
		"etc/ca-certificates/update.d", "etc/default", "etc/dpkg/dpkg.cfg.d", "etc/opt", "etc/profile.d",
		"etc/security", "etc/skel", "etc/ssl/private", "etc/sudoers.d", "etc/terminfo",
		agentDir + "/bin", agentDir + "/empty",
	} {
		t.dir(name, 0o755)
	}
	for _, name := range []string{"tmp", "var/tmp", "run/lock"} {
		t.dir(name, fs.ModeSticky|0o777)
	}
	// Over an empty /tmp gVisor mounts a tmpfs, which would take memory.
	t.file("tmp/.keep", 0o644, "")
	t.dir("etc/ssl/private", 0o700)
	t.symlink("var/run", "/run")
	t.symlink("var/lock", "/run/lock")
	// dpkg and apt refuse to start without these.
	t.file("var/lib/dpkg/status", 0o644, "")
	t.file("var/lib/dpkg/available", 0o644, "")
}

// addAccounts gives the guest its own users. No account has a password: root
// becomes anybody by su, and the user becomes root by sudo.
func (t *tree) addAccounts() {
	t.file("etc/passwd", 0o644, passwdFile)
	t.file("etc/group", 0o644, groupFile)
	t.add("etc/shadow", entry{mode: 0o640, gid: shadowGID, data: []byte(guest.Locked(passwdFile, ":*:19000:0:99999:7:::"))})
	t.add("etc/gshadow", entry{mode: 0o640, gid: shadowGID, data: []byte(guest.Locked(groupFile, ":*::"))})
	t.file("etc/subuid", 0o644, "user:100000:65536\n")
	t.file("etc/subgid", 0o644, "user:100000:65536\n")
}

// addBrowsers has Chromium and Chrome send no encrypted server names, not even random ones: sandboxes that reach hosts by
// name only would reach none with them.
func (t *tree) addBrowsers() {
	for _, name := range guest.BrowserPolicies {
		t.file(name, 0o644, guest.BrowserPolicy)
	}
}

// addLogin makes su, sudo, passwd and login shells work.
func (t *tree) addLogin() {
	for _, kind := range []string{"auth", "account", "password", "session"} {
		t.file("etc/pam.d/common-"+kind, 0o644, kind+" required pam_unix.so\n")
	}
	t.file("etc/pam.d/common-session-noninteractive", 0o644, "session required pam_unix.so\n")
	const all = "@include common-auth\n@include common-account\n@include common-password\n@include common-session\n"
	for _, name := range []string{
		"su", "su-l", "runuser", "runuser-l", "login", "passwd", "chpasswd", "newusers", "chsh", "chfn",
		"sudo", "sudo-i", "cron", "other",
	} {
		t.file("etc/pam.d/"+name, 0o644, "auth sufficient pam_rootok.so\n"+all)
	}
	// For a host that has sudo installed.
	t.file("etc/sudoers", 0o440, "Defaults env_reset, !use_pty, secure_path=\""+guestPath+"\"\n"+
		"root ALL=(ALL:ALL) NOPASSWD: ALL\nuser ALL=(ALL:ALL) NOPASSWD: ALL\n@includedir /etc/sudoers.d\n")
	t.file("etc/login.defs", 0o644, loginDefsFile+"ENV_PATH PATH="+guestPath+"\nENV_SUPATH PATH="+guestPath+"\n")
	t.file("etc/profile", 0o644, guest.Profile(guestPath))
	t.file("etc/bash.bashrc", 0o644, bashrcFile)
	t.file("etc/shells", 0o644, "/bin/sh\n/bin/bash\n/usr/bin/sh\n/usr/bin/bash\n")
	t.file("etc/environment", 0o644, "")
	t.file("etc/default/locale", 0o644, "LANG=C.UTF-8\n")
	t.file("etc/default/useradd", 0o644, "SHELL=/bin/bash\n")
	t.file("etc/adduser.conf", 0o644, "DSHELL=/bin/bash\n")
}

func (t *tree) addSystem(cfg Config) {
	t.file("etc/hostname", 0o644, guest.Hostname)
	t.file("etc/hosts", 0o644, guest.Hosts)
	t.file("etc/resolv.conf", 0o644, guest.ResolvConf(cfg.Nameservers))
	t.file("etc/host.conf", 0o644, "multi on\n")
	// glibc passes over myhostname where the host lacks its library.
	t.file("etc/nsswitch.conf", 0o644, "passwd: files\ngroup: files\nshadow: files\ngshadow: files\n"+
		"hosts: files myhostname dns\nnetworks: files\nprotocols: files\nservices: files\nrpc: files\n")
	t.file("etc/fstab", 0o644, "")
	t.symlink("etc/mtab", "../proc/self/mounts")
	// Empty means not set yet: every sandbox must get its own.
	t.file("etc/machine-id", 0o644, "")
	t.file("etc/timezone", 0o644, "Etc/UTC\n")
	if exists(cfg.HostRoot, "usr/share/zoneinfo/Etc/UTC") {
		t.symlink("etc/localtime", "/usr/share/zoneinfo/Etc/UTC")
	}
	if exists(cfg.HostRoot, "usr/share/readline/inputrc") {
		t.symlink("etc/inputrc", "/usr/share/readline/inputrc")
	}
	if exists(cfg.HostRoot, "usr/lib/os-release") {
		t.symlink("etc/os-release", "../usr/lib/os-release")
	}
}

func (t *tree) addHomes() {
	for _, home := range []struct {
		dir  string
		perm fs.FileMode
		id   int
	}{{"etc/skel", 0o755, 0}, {"root", 0o700, 0}, {"home/user", 0o755, userID}} {
		t.add(home.dir, entry{mode: fs.ModeDir | home.perm, uid: home.id, gid: home.id})
		for name, content := range guest.DotFiles {
			t.add(home.dir+"/"+name, entry{mode: 0o644, uid: home.id, gid: home.id, data: []byte(content)})
		}
	}
}

// addAgent copies the agent, and adds a sudo where the host has none: the agent
// acts as sudo when it is called by that name. See SetUID.
func (t *tree) addAgent(cfg Config) error {
	fi, err := os.Stat(cfg.AgentPath)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("agent %s is not a regular file", cfg.AgentPath)
	}
	t.add(agentDir+"/agent", entry{mode: 0o755, source: cfg.AgentPath})
	if !exists(cfg.HostRoot, "usr/bin/sudo") {
		program, err := guest.SudoProgram()
		if err != nil {
			return err
		}
		t.file(sudoPath[1:], 0o755, program)
	}
	return nil
}

func exists(root, name string) bool {
	_, err := os.Stat(filepath.Join(root, name))
	return err == nil
}
