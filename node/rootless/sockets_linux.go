package rootless

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	stageSockets = "rundlet-sockets"
	// maxMessage bounds a question and an answer: an address, or the text of an error.
	maxMessage = 4096
)

// question asks the process outside to listen.
type question struct{ Network, Address string }

// answer comes with a socket unless it has an error.
type answer struct {
	Err   string        `json:",omitempty"`
	Errno syscall.Errno `json:",omitempty"`
}

// startSockets starts the process outside that listens for the one inside, until that closes its end.
func startSockets() (inside *os.File, err error) {
	inside, outside, err := socketPair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, err
	}
	defer outside.Close()
	_, err = startOutside(stageSockets, nil, []*os.File{outside})
	return inside, err
}

// startOutside starts a stage of this program that goes on when this process is another.
func startOutside(stage string, log *os.File, files []*os.File, args ...string) (pid int, err error) {
	cmd := exec.Command("/proc/self/exe") //nolint:noctx // It outlives this process.
	cmd.Args, cmd.Dir, cmd.ExtraFiles = append([]string{stage}, args...), "/", files
	cmd.Env = append(os.Environ(), envStage+"="+stage)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is for the daemon, which decides what ends.
	if log != nil {
		cmd.Stderr = log
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pid = cmd.Process.Pid // Release forgets it.
	return pid, cmd.Process.Release()
}

func socketPair(kind int) (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "inside"), os.NewFile(uintptr(fds[1]), "outside"), nil
}

// serveSockets listens for the process inside, which may ask for any address that the user may use, as this process could itself.
func serveSockets() error {
	conn, err := unixConn(os.NewFile(firstFD, "sockets"))
	if err != nil {
		return err
	}
	defer conn.Close()
	for {
		var q question
		if _, err := receive(conn, &q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		file, err := listenFile(q)
		var a answer
		if err != nil {
			a.Err = err.Error()
			errors.As(err, &a.Errno)
		}
		err = send(conn, a, file)
		if file != nil {
			file.Close()
		}
		if err != nil {
			return err
		}
	}
}

func listenFile(q question) (*os.File, error) {
	var lc net.ListenConfig
	if strings.HasPrefix(q.Network, "udp") {
		c, err := lc.ListenPacket(context.Background(), q.Network, q.Address)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		return c.(*net.UDPConn).File()
	}
	l, err := lc.Listen(context.Background(), q.Network, q.Address)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.(*net.TCPListener).File()
}

// outside is the connection of a process inside to the one that has the host's network.
type outside struct {
	mu   sync.Mutex // One question at a time.
	conn *net.UnixConn
}

// ask returns the socket that the process outside has made.
func (o *outside) ask(network, address string) (*os.File, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := send(o.conn, question{network, address}, nil); err != nil {
		return nil, fmt.Errorf("ask the process outside: %w", err)
	}
	var a answer
	file, err := receive(o.conn, &a)
	if err != nil {
		return nil, fmt.Errorf("hear the process outside: %w", err)
	}
	if a.Err != "" {
		return nil, refusal{a}
	}
	if file == nil {
		return nil, errors.New("the process outside sent no socket")
	}
	return file, nil
}

// refusal is an error of the process outside, which is the same system error here.
type refusal struct{ answer }

func (r refusal) Error() string { return r.Err }

func (r refusal) Unwrap() error {
	if r.Errno == 0 {
		return nil
	}
	return r.Errno
}

func unixConn(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}

// send sends a value, and a file unless it is nil.
func send(c *net.UnixConn, v any, file *os.File) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var rights []byte
	if file != nil {
		rights = unix.UnixRights(int(file.Fd()))
	}
	_, _, err = c.WriteMsgUnix(text, rights, nil)
	return err
}

// receive receives a value and the file that may come with it, which is the caller's.
func receive(c *net.UnixConn, v any) (file *os.File, err error) {
	text, rights := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4))
	n, m, _, _, err := c.ReadMsgUnix(text, rights)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:m])
	if err != nil {
		return nil, err
	}
	for _, message := range messages {
		fds, err := unix.ParseUnixRights(&message)
		if err != nil || len(fds) != 1 {
			return nil, errors.Join(err, errors.New("not one file"))
		}
		unix.CloseOnExec(fds[0])
		file = os.NewFile(uintptr(fds[0]), "received")
	}
	if err := json.Unmarshal(text[:n], v); err != nil {
		if file != nil {
			file.Close()
		}
		return nil, err
	}
	return file, nil
}
