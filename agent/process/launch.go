//go:build linux

package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/rundlet/rundlet/agent/account"
	"github.com/rundlet/rundlet/api/gen/envd/processpb"
	"github.com/rundlet/rundlet/envd"
)

// defaultPath is what a process gets when the agent itself has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// errCommand is a command that cannot be started as asked.
var errCommand = errors.New("cannot start the command")

// launch starts a process of a user and begins to follow it; done is called
// when it has ended, before subscribers see the end.
func (s *Service) launch(req *processpb.StartRequest, u account.User, first func(*proc)) (*proc, error) {
	cfg := req.GetProcess()
	cwd, err := s.workdir(cfg.GetCwd(), u)
	if err != nil {
		return nil, err
	}
	env := environment(u, imageVariables(), s.state.Env(), cfg.GetEnvs())
	path, err := lookPath(cfg.GetCmd(), cwd, env)
	if err != nil {
		return nil, err
	}
	p := &proc{tag: req.Tag, config: cfg, reaper: s.reaper, input: newInput(), ended: make(chan struct{})}
	child, err := p.open(req, u)
	defer closeAll(child)
	if err != nil {
		p.release()
		return nil, err
	}
	attr := &syscall.ProcAttr{
		Dir: cwd,
		Env: env,
		// A separate group can be killed as a whole. Only a terminal makes a
		// session, see docs/decisions/0040-commands-share-the-agents-session.md.
		Sys: &syscall.SysProcAttr{
			Setpgid:    p.pty == nil,
			Setsid:     p.pty != nil,
			Setctty:    p.pty != nil,
			Credential: &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups},
		},
	}
	for _, f := range child {
		attr.Files = append(attr.Files, f.Fd())
	}
	argv := append([]string{cfg.GetCmd()}, cfg.GetArgs()...)
	pid, exit, err := s.reaper.Start(path, argv, attr)
	if err != nil {
		p.release()
		return nil, execError(path, argv, env, err)
	}
	p.pid = uint32(pid)
	first(p)
	go p.follow(exit, func() { s.table.end(p) })
	return p, nil
}

// open makes the terminal or the pipes and returns the child's ends, in the
// order of its descriptors.
func (p *proc) open(req *processpb.StartRequest, u account.User) (child []*os.File, err error) {
	if req.GetPty() != nil {
		t, slave, err := openTerminal()
		if err != nil {
			return nil, err
		}
		p.pty = t
		p.discipline = newDiscipline(p)
		if size := req.GetPty().GetSize(); size != nil {
			if err := setSize(t.master, winsize(size)); err != nil {
				return []*os.File{slave}, fmt.Errorf("size terminal: %w", err)
			}
		}
		// The user may want to open its terminal by name.
		_ = slave.Chown(int(u.UID), -1)
		return []*os.File{slave, slave, slave}, nil
	}
	var in *os.File
	if req.Stdin == nil || req.GetStdin() {
		p.stdin, in, err = pipe(1)
	} else {
		in, err = devNull()
	}
	if err != nil {
		return nil, fmt.Errorf("open stdin: %w", err)
	}
	child = append(child, in)
	for range 2 {
		r, w, err := pipe(0)
		if err != nil {
			return child, fmt.Errorf("open output pipe: %w", err)
		}
		p.outputs = append(p.outputs, r)
		child = append(child, w)
	}
	return child, nil
}

// pipe makes a pipe of which the agent keeps the end of that index. Only that
// end is non-blocking and known to the poller: os.Pipe does so with both, and
// system calls are dear in a sandbox.
func pipe(keep int) (ours, theirs *os.File, err error) {
	var fd [2]int
	if err := syscall.Pipe2(fd[:], syscall.O_CLOEXEC); err != nil {
		return nil, nil, err
	}
	if err := syscall.SetNonblock(fd[keep], true); err != nil {
		syscall.Close(fd[0])
		syscall.Close(fd[1])
		return nil, nil, err
	}
	return os.NewFile(uintptr(fd[keep]), "pipe"), os.NewFile(uintptr(fd[1-keep]), "pipe"), nil
}

// devNull opens the empty input without the poller, as pipe does.
func devNull() (*os.File, error) {
	fd, err := syscall.Open(os.DevNull, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), os.DevNull), nil
}

// release closes what open made, for a process that never ran.
func (p *proc) release() {
	closeAll(append([]*os.File{p.stdin}, p.outputs...))
	if p.pty != nil {
		p.pty.close()
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// workdir resolves and checks the directory of a process.
func (s *Service) workdir(cwd string, u account.User) (string, error) {
	dir, err := s.state.Path(cwd, u)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errCommand, err)
	}
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w", &cwdError{dir})
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", errCommand, err)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%w: cwd '%s' is not a directory", errCommand, dir)
	}
	return dir, nil
}

// cwdError has the text that SDKs show.
type cwdError struct{ dir string }

func (e *cwdError) Error() string { return fmt.Sprintf("cwd '%s' does not exist", e.dir) }

// Unwrap makes it an errCommand.
func (e *cwdError) Unwrap() error { return errCommand }

// imageVariables are those of the image that the guest began with.
var imageVariables = sync.OnceValue(func() (variables map[string]string) {
	_ = json.Unmarshal([]byte(os.Getenv(envd.VariablesName)), &variables) // The daemon made it; otherwise there are none.
	return variables
})

// environment is, later ones winning: the image's variables, the agent's PATH, the user's own
// variables, the sandbox's, the request's.
func environment(u account.User, image, sandbox, request map[string]string) []string {
	path := os.Getenv("PATH")
	if path == "" {
		path = defaultPath
	}
	merged := map[string]string{}
	for _, m := range []map[string]string{image, {"PATH": path, "HOME": u.Home, "USER": u.Name, "LOGNAME": u.Name}, sandbox, request} {
		maps.Copy(merged, m)
	}
	env := make([]string, 0, len(merged))
	for k, v := range merged {
		env = append(env, k+"="+v)
	}
	slices.Sort(env)
	return env
}

// lookPath finds a command without a slash in the PATH of env.
func lookPath(cmd, cwd string, env []string) (string, error) {
	if cmd == "" {
		return "", fmt.Errorf("%w: cmd is empty", errCommand)
	}
	if strings.Contains(cmd, "/") {
		return cmd, nil
	}
	for _, kv := range env {
		list, ok := strings.CutPrefix(kv, "PATH=")
		if !ok {
			continue
		}
		for dir := range strings.SplitSeq(list, ":") {
			if !filepath.IsAbs(dir) {
				dir = filepath.Join(cwd, dir)
			}
			path := filepath.Join(dir, cmd)
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("%w: %w", errCommand, &missingError{cmd, syscall.ENOENT})
}
