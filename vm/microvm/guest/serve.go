//go:build linux

package guest

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm/microvm/link"
)

// serve does what the host asks for. It returns only if the host's end fails.
func (g *guest) serve(host io.Reader) error {
	lines := bufio.NewReaderSize(host, 64<<10)
	for {
		line, err := link.ReadLine(lines)
		if err != nil {
			return err
		}
		var call link.Call
		if json.Unmarshal(line, &call) != nil || call.Nonce == "" {
			continue
		}
		if call.Nonce != g.last.Nonce {
			g.last = link.Answer{Nonce: call.Nonce}
			if err := g.do(call); err != nil {
				g.last.Error = err.Error()
			}
		}
		g.send(g.last)
	}
}

func (g *guest) do(call link.Call) error {
	switch {
	case call.Boot != nil && !g.started:
		if err := wake(call.Boot.Wake); err != nil {
			return err
		}
		if err := g.start(*call.Boot); err != nil {
			return err
		}
		g.started = true
		return nil
	case call.Boot != nil:
		return errors.New("it has booted")
	case call.Wake != nil:
		return errors.Join(wake(*call.Wake), g.freeze(false))
	case call.Freeze:
		err := g.freeze(true)
		if call.Sync {
			unix.Sync()
		}
		return err
	}
	return errors.New("unknown call")
}

func (g *guest) send(a link.Answer) {
	line, err := json.Marshal(a)
	if err != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.out == nil {
		return
	}
	// The host can be away; it asks again.
	_, _ = g.out.Write(append(append([]byte{'\n'}, line...), '\n'))
}

// descriptor writes by one system call, without the runtime's poller: what the host does not take is lost.
type descriptor int

func (d descriptor) Write(b []byte) (int, error) { return unix.Write(int(d), b) }

// freezeTime is how long the kernel may take to freeze the programs.
const freezeTime = 2 * time.Second

// freeze stops the programs of the guest, or lets them go on. Some can be in groups that they have made beside theirs: those of containers are.
func (g *guest) freeze(on bool) error {
	if g.group == "" {
		return nil
	}
	if !on {
		errs := []error{setFrozen(g.group, false)}
		for _, other := range g.others {
			if err := setFrozen(other, false); !removed(err) {
				errs = append(errs, err)
			}
		}
		g.others = nil
		return errors.Join(errs...)
	}
	if err := setFrozen(g.group, true); err != nil {
		return err
	}
	if g.groups == "" {
		return nil
	}
	entries, err := os.ReadDir(g.groups)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		other := filepath.Join(g.groups, entry.Name())
		if !entry.IsDir() || other == g.group {
			continue
		}
		if now, err := os.ReadFile(other + "/cgroup.freeze"); err == nil && strings.TrimSpace(string(now)) == "1" {
			continue // By its own programs, who let it go on; or by the freeze before.
		}
		g.others = append(g.others, other)
		if err := setFrozen(other, true); err != nil && !removed(err) {
			return err
		}
	}
	return nil
}

// removed reports whether a control group is gone.
func removed(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) }

func setFrozen(group string, on bool) error {
	value, want := "0", "frozen 0"
	if on {
		value, want = "1", "frozen 1"
	}
	if err := os.WriteFile(group+"/cgroup.freeze", []byte(value), 0); err != nil {
		return err
	}
	for deadline := time.Now().Add(freezeTime); ; <-time.After(time.Millisecond) {
		events, err := os.ReadFile(group + "/cgroup.events")
		if err != nil || strings.Contains(string(events), want) {
			return err
		}
		if time.Now().After(deadline) {
			return errors.New("its programs do not stop")
		}
	}
}

// portReader reads a serial port. While the host is away there is nothing to wait for: the kernel says only that a read would
// not wait.
type portReader struct{ fd int }

// The pauses between looks while the host is away.
const (
	awayFirst = time.Millisecond
	awayLast  = 20 * time.Millisecond
)

func (p *portReader) Read(b []byte) (int, error) {
	for pause := awayFirst; ; {
		n, err := unix.Read(p.fd, b)
		switch {
		case n > 0:
			return n, nil
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			// It ends when there is something, or the host goes.
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, int(time.Second.Milliseconds()))
			pause = awayFirst
		case err != nil:
			return 0, err
		default:
			<-time.After(pause)
			pause = min(2*pause, awayLast)
		}
	}
}
