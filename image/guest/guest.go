//go:build linux

// Package guest has what every root file system needs to be a guest of Rundlet, whatever it is
// made of: the places of the agent and its sudo, the user of E2B, name resolution, and a login
// shell that keeps its PATH. Add puts it over the tree of an image; image/hostbase takes the
// parts. It may import image/tree, image/erofs, golang.org/x/sys and the standard library; the
// other packages of image may import it.
package guest

import (
	_ "embed"
	"strings"
)

const (
	// Dir holds what Rundlet adds to a guest, relative to the root. It is outside /usr, which may be the host's.
	Dir = ".rundlet"
	// AgentPath is the first program of a guest.
	AgentPath = "/" + Dir + "/agent"
	// SudoPath is the sudo of a guest, which is the agent under that name.
	SudoPath = "/" + Dir + "/bin/sudo"

	systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	binDir     = "/" + Dir + "/bin"
	// Path is the command search path of a guest: our sudo first.
	Path = binDir + ":" + systemPath

	// UserID is that of E2B's user, where it is free.
	UserID = 1000

	// Hostname and Hosts are files of /etc.
	Hostname = "sandbox\n"
	Hosts    = "127.0.0.1 localhost\n127.0.1.1 sandbox\n::1 localhost ip6-localhost ip6-loopback\n"

	// BrowserPolicy has browsers send no encrypted server names, not even random ones: sandboxes
	// that reach hosts by name only would reach none with them.
	BrowserPolicy = `{"EncryptedClientHelloEnabled": false}` + "\n"
)

// BrowserPolicies are the files of Chromium and Chrome that have BrowserPolicy.
var BrowserPolicies = []string{"etc/chromium/policies/managed/sandbox.json", "etc/opt/chrome/policies/managed/sandbox.json"}

// DefaultNameservers are public resolvers.
var DefaultNameservers = []string{"8.8.8.8", "1.1.1.1"}

// DotFiles are the files of a new home directory.
var DotFiles = map[string]string{
	".profile": "[ -n \"$BASH_VERSION\" ] && [ -f ~/.bashrc ] && . ~/.bashrc\n" +
		"[ -d ~/bin ] && PATH=\"$HOME/bin:$PATH\"\n[ -d ~/.local/bin ] && PATH=\"$HOME/.local/bin:$PATH\"\ntrue\n",
	".bashrc": "# Per-user settings of interactive shells; /etc/bash.bashrc has the general ones.\n",
}

var (
	//go:embed files/profile
	profileFile string
	//go:embed files/profile.begin
	profileBegin string
	//go:embed files/profile.end
	profileEnd string
)

// Profile returns an /etc/profile for a root that has none, with a PATH for shells that have none.
func Profile(path string) string { return strings.ReplaceAll(profileFile, "@PATH@", path) }

// keepPath returns an /etc/profile that keeps the PATH that the shell was given, before what
// the profile of an image makes of it.
func keepPath(profile, path string) string {
	if strings.HasPrefix(profile, profileBegin) {
		return profile
	}
	return profileBegin + profile + "\n" + strings.ReplaceAll(profileEnd, "@PATH@", path)
}

// ResolvConf returns an /etc/resolv.conf.
func ResolvConf(nameservers []string) string {
	var b strings.Builder
	for _, ns := range nameservers {
		b.WriteString("nameserver " + ns + "\n")
	}
	return b.String()
}

// Locked returns the shadow file that belongs to an account file: rest follows each name.
func Locked(accounts, rest string) string {
	var b strings.Builder
	for line := range strings.Lines(accounts) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		b.WriteString(name + rest + "\n")
	}
	return b.String()
}
