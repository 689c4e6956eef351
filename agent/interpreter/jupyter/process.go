//go:build linux

package jupyter

import (
	"context"
	"crypto/rand"
	_ "embed" // The program of the kernel.
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/rundlet/rundlet/agent/interpreter/kernel"
	"github.com/rundlet/rundlet/agent/interpreter/zmtp"
)

//go:embed python/launch.py
var launch []byte

//go:embed python/rundlet_formats.py
var formatsModule []byte

//go:embed python/rundlet_charts.py
var chartsModule []byte

// Install writes the program of Python kernels to a directory, and returns the command that runs it.
func Install(dir, python string) ([]string, error) {
	for name, text := range map[string][]byte{"launch.py": launch, "rundlet_formats.py": formatsModule, "rundlet_charts.py": chartsModule} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return nil, err
		}
	}
	return []string{python, filepath.Join(dir, "launch.py")}, nil
}

// Config describes a kernel.
type Config struct {
	// Command starts it; the path of its connection file is added. The process gets two descriptors,
	// RUNDLET_SERVER_FD, which is closed when the server ends, and RUNDLET_READY_FD, to which it
	// writes when its sockets are there.
	Command []string
	// Dir is its working directory, and Env its environment.
	Dir string
	Env []string
	// Generation is that of the machine.
	Generation string
	// Log gets its output that is not of a run.
	Log *os.File
}

// maxSaid bounds what is kept of the last output of a kernel that does not start.
const maxSaid = 4 << 10

// process is a kernel's process.
type process struct {
	cmd    *exec.Cmd
	dir    string   // Of its sockets.
	server *os.File // It ends when this is closed.
	done   chan struct{}
	why    string // Once done is closed.
}

// spawn starts a kernel, and waits until its sockets are there.
func spawn(ctx context.Context, cfg Config, key string) (_ *process, err error) {
	dir, err := os.MkdirTemp("", "kernel-")
	if err != nil {
		return nil, err
	}
	p := &process{dir: dir, done: make(chan struct{})}
	started := false
	defer func() {
		if err != nil && started {
			p.close()
		} else if err != nil {
			os.RemoveAll(dir)
		}
	}()
	connection, err := json.Marshal(map[string]any{
		"transport": "ipc", "ip": filepath.Join(dir, "s"), "key": key, "signature_scheme": "hmac-sha256",
		"shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4, "hb_port": 5,
	})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "connection.json")
	if err := os.WriteFile(file, connection, 0o600); err != nil {
		return nil, err
	}
	theirs, server, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	p.server = server
	readyRead, readyWrite, err := os.Pipe()
	if err != nil {
		server.Close()
		return nil, err
	}
	defer readyRead.Close()
	// It is not bound to ctx, which ends with the start.
	p.cmd = exec.Command(cfg.Command[0], append(cfg.Command[1:len(cfg.Command):len(cfg.Command)], "-f", file)...) //nolint:noctx // It lives until close.
	p.cmd.Dir, p.cmd.ExtraFiles, p.cmd.SysProcAttr = cfg.Dir, []*os.File{theirs, readyWrite}, &syscall.SysProcAttr{Setsid: true}
	p.cmd.Env = append(cfg.Env, "RUNDLET_SERVER_FD=3", "RUNDLET_READY_FD=4", "RUNDLET_GENERATION="+cfg.Generation)
	said, err := os.CreateTemp(dir, "output-")
	if err != nil {
		server.Close()
		readyWrite.Close()
		return nil, err
	}
	defer said.Close()
	p.cmd.Stdout, p.cmd.Stderr = said, said
	err = p.cmd.Start()
	readyWrite.Close()
	if err != nil {
		server.Close()
		return nil, fmt.Errorf("start kernel: %w", err)
	}
	started = true
	go p.wait()

	ready := make(chan error, 1)
	go func() {
		_, err := readyRead.Read(make([]byte, 1))
		ready <- err
	}()
	select {
	case err := <-ready:
		if err == nil {
			return p, nil
		}
		p.close() // It closed its end, or ended: its output says why.
		return nil, fmt.Errorf("kernel did not start: %s\n%s", p.why, tail(said))
	case <-ctx.Done():
		p.close()
		<-ready
		return nil, fmt.Errorf("kernel did not start in time: %w\n%s", context.Cause(ctx), tail(said))
	}
}

func tail(f *os.File) string {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return ""
	}
	text := make([]byte, min(size, maxSaid))
	n, _ := f.ReadAt(text, size-int64(len(text)))
	return strings.ToValidUTF8(string(text[:n]), "?")
}

func (p *process) wait() {
	err := kernel.Wait(p.cmd)
	p.why = "exit status 0"
	if err != nil {
		p.why = err.Error()
	}
	close(p.done)
}

// signal signals the kernel and what it started in its process group.
func (p *process) signal(sig syscall.Signal) {
	select {
	case <-p.done: // Its id may be another's by now.
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, sig)
	}
}

// close kills the kernel and its process group, and frees what it has.
func (p *process) close() {
	p.signal(syscall.SIGKILL)
	<-p.done
	p.server.Close()
	os.RemoveAll(p.dir)
}

// dial connects to one of the kernel's sockets.
func (p *process) dial(ctx context.Context, port, socketType string) (*zmtp.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", filepath.Join(p.dir, "s-"+port))
	if err != nil {
		return nil, err
	}
	return zmtp.New(conn, socketType)
}

// newKey is a key, or an id, that cannot be guessed.
func newKey() string { return rand.Text() }

var errSilent = errors.New("kernel does not answer")
