//go:build linux

// Package sudo is a minimal sudo for guests whose image has none: E2B's user
// may run anything as anybody without a password, and so may everybody here. It
// relies on the set-uid bit of the agent's binary. It may import agent/account and
// agent/trust; only cmd/rundlet-agent imports it.
package sudo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/rundlet/rundlet/agent/account"
	"github.com/rundlet/rundlet/agent/trust"
)

const (
	securePath   = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	defaultShell = "/bin/sh"
)

// kept are the variables that pass without -E. With those of package trust, npm and pip trust below sudo what they do without.
var kept = append(trust.Variables(),
	"TERM", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "COLORTERM", "DISPLAY", "TZ", "PS1", "PS2", "COLUMNS", "LINES",
)

// Main runs sudo with the arguments behind its name; it returns an exit code
// only if it does not become another program.
func Main(args []string) int {
	if err := run(args); err != nil {
		fmt.Fprintln(os.Stderr, "sudo:", err)
		return 1
	}
	return 0
}

func run(args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("must be owned by uid 0 and have the setuid bit set")
	}
	if o.list {
		fmt.Println("    (ALL : ALL) NOPASSWD: ALL")
		return nil
	}
	if len(o.command) == 0 && !o.login && !o.shell {
		return nil
	}
	db := account.Open("/etc/passwd", "/etc/group")
	target, err := lookup(db, o.user)
	if err != nil {
		return err
	}
	p := plan(o, target, os.Environ(), caller(db))
	path, err := resolve(p.argv0, p.env)
	if err != nil {
		return err
	}
	return become(target, path, p)
}

// lookup finds a user by name or "#uid".
func lookup(db *account.DB, name string) (account.User, error) {
	if number, ok := strings.CutPrefix(name, "#"); ok {
		uid, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return account.User{}, fmt.Errorf("invalid user %s", name)
		}
		byID, _ := db.Names()
		name = byID(uint32(uid))
		if name == number {
			return account.User{Name: name, UID: uint32(uid), GID: uint32(uid), Home: "/", Groups: []uint32{uint32(uid)}}, nil
		}
	}
	u, err := db.Lookup(name)
	if errors.Is(err, account.ErrUnknown) {
		return u, fmt.Errorf("unknown user %s", name)
	}
	return u, err
}

func caller(db *account.DB) []string {
	user, _ := db.Names()
	return []string{
		"SUDO_USER=" + user(uint32(os.Getuid())),
		"SUDO_UID=" + strconv.Itoa(os.Getuid()),
		"SUDO_GID=" + strconv.Itoa(os.Getgid()),
	}
}

// program is what to become.
type program struct {
	argv0 string // what is looked up
	argv  []string
	env   []string
	dir   string // empty: stay
}

// plan decides what to run; it touches nothing.
func plan(o options, u account.User, environ, caller []string) program {
	p := program{argv: o.command}
	shell := u.Shell
	if shell == "" {
		shell = defaultShell
	}
	switch {
	case o.login:
		p.dir = u.Home
		p.argv0, p.argv = shell, append([]string{"-" + filepath.Base(shell)}, shellCommand(o.command)...)
	case o.shell:
		if s := value(environ, "SHELL"); s != "" {
			shell = s
		}
		p.argv0, p.argv = shell, append([]string{shell}, shellCommand(o.command)...)
	default:
		p.argv0 = o.command[0]
	}
	p.env = environment(o, u, shell, environ, append(caller, "SUDO_COMMAND="+strings.Join(p.argv, " ")))
	return p
}

// shellCommand quotes a command for a shell, as sudo does: everything but
// letters, digits, underscore, hyphen and dollar.
func shellCommand(command []string) []string {
	if len(command) == 0 {
		return nil
	}
	var b strings.Builder
	for i, arg := range command {
		if i > 0 {
			b.WriteByte(' ')
		}
		for j := range len(arg) {
			c := arg[j]
			plain := c >= 0x80 || c == '_' || c == '-' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
			if !plain {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
		}
	}
	return []string{"-c", b.String()}
}

func environment(o options, u account.User, shell string, environ, caller []string) []string {
	var env []string
	if o.preserve && !o.login {
		env = append(env, environ...)
	} else {
		for _, name := range kept {
			if v := value(environ, name); v != "" {
				env = append(env, name+"="+v)
			}
		}
		env = set(env, "SHELL="+shell)
	}
	if !o.preserve || o.home || o.login {
		env = set(env, "HOME="+u.Home)
	}
	for _, kv := range append([]string{"USER=" + u.Name, "LOGNAME=" + u.Name, "PATH=" + securePath}, caller...) {
		env = set(env, kv)
	}
	for _, kv := range o.env {
		env = set(env, kv)
	}
	return env
}

func value(env []string, name string) string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// set replaces or adds one variable.
func set(env []string, kv string) []string {
	name, _, _ := strings.Cut(kv, "=")
	for i := range env {
		if strings.HasPrefix(env[i], name+"=") {
			env[i] = kv
			return env
		}
	}
	return append(env, kv)
}

// resolve finds a command in the PATH of env.
func resolve(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for dir := range strings.SplitSeq(value(env, "PATH"), ":") {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: command not found", name)
}

// become gives up what the target user does not have and executes the program.
func become(u account.User, path string, p program) error {
	groups := make([]int, len(u.Groups))
	for i, g := range u.Groups {
		groups[i] = int(g)
	}
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("set groups: %w", err)
	}
	if err := syscall.Setresgid(int(u.GID), int(u.GID), int(u.GID)); err != nil {
		return fmt.Errorf("set group: %w", err)
	}
	if err := syscall.Setresuid(int(u.UID), int(u.UID), int(u.UID)); err != nil {
		return fmt.Errorf("set user: %w", err)
	}
	if p.dir != "" {
		if err := os.Chdir(p.dir); err != nil {
			fmt.Fprintf(os.Stderr, "sudo: unable to change directory to %s: %v\n", p.dir, err)
		}
	}
	if err := syscall.Exec(path, p.argv, p.env); err != nil {
		return fmt.Errorf("unable to execute %s: %w", path, err)
	}
	return nil
}
