//go:build linux

package guest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm/microvm/link"
)

// TestThePortIsReadWhileHostsComeAndGo: a pipe with a name ends for its reader while it has no writer, as the serial port does.
func TestThePortIsReadWhileHostsComeAndGo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "port")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string)
	go func() {
		defer close(got)
		lines := bufio.NewReader(&portReader{fd: fd})
		for range 6 {
			line, err := link.ReadLine(lines)
			if err != nil {
				t.Error(err)
				return
			}
			got <- string(line)
		}
	}()
	defer unix.Close(fd)
	for range 2 {
		host, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"here\n", "waits\n", "gone, in the middle of a "} {
			fmt.Fprint(host, text)
			if strings.HasSuffix(text, "\n") {
				if line := <-got; line != text { // Then the reader waits.
					t.Errorf("read %q, want %q", line, text)
				}
			}
		}
		host.Close()
		if host, err = os.OpenFile(path, os.O_WRONLY, 0); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(host, "line\n")
		if line := <-got; line != "gone, in the middle of a line\n" {
			t.Errorf("read %q", line)
		}
		host.Close()
	}
	if _, more := <-got; more {
		t.Error("there is a line more")
	}
}

func TestThePortFails(t *testing.T) {
	dir, err := unix.Open(t.TempDir(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	if n, err := (&portReader{fd: dir}).Read(make([]byte, 1)); n != 0 || !errors.Is(err, unix.EISDIR) {
		t.Errorf("%d %v", n, err)
	}
}

// kept are the ports of guests, which serve them until this process ends: a number that is used again would be another guest's port.
var kept []*os.File

// host starts a guest that serves, and returns the host's end of its port. group stands for the control group of its programs.
func host(t *testing.T, g *guest) net.Conn {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fds[0]), "host")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	port := os.NewFile(uintptr(fds[1]), link.Port)
	g.out = descriptor(port.Fd())
	kept = append(kept, port)
	reader := &portReader{fd: int(port.Fd())}
	go func() { _ = g.serve(reader) }() // It waits for its host until this process ends, as it does in a machine.
	return conn
}

// cgroup makes files like those of a control group whose state is fixed.
func cgroup(t *testing.T, frozen int) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/cgroup.events", fmt.Appendf(nil, "populated 1\nfrozen %d\n", frozen), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// asker says calls as they are, line by line, and reads answers.
type asker struct {
	t     *testing.T
	conn  net.Conn
	lines *bufio.Reader
}

func (a *asker) ask(text string) link.Answer {
	a.t.Helper()
	fmt.Fprint(a.conn, text)
	for {
		line, err := link.ReadLine(a.lines)
		if err != nil {
			a.t.Fatal(err)
		}
		if len(line) == 1 {
			continue
		}
		var answer link.Answer
		if err := json.Unmarshal(line, &answer); err != nil {
			a.t.Fatal(err)
		}
		return answer
	}
}

func TestACallIsDoneOnce(t *testing.T) {
	g := &guest{group: cgroup(t, 1)}
	conn := host(t, g)
	a := &asker{t, conn, bufio.NewReader(conn)}
	is := func(when string, got link.Answer, nonce, want string) {
		t.Helper()
		if got.Nonce != nonce || (want == "") != (got.Error == "") || !strings.Contains(got.Error, want) {
			t.Errorf("%s: %+v", when, got)
		}
	}
	is("a call", a.ask("\n{\"nonce\":\"1\",\"freeze\":true}\n"), "1", "")
	wrote := filepath.Join(g.group, "cgroup.freeze")
	if value, err := os.ReadFile(wrote); string(value) != "1" {
		t.Errorf("wrote %q: %v", value, err)
	}
	_ = os.Remove(wrote)
	is("its repeat", a.ask("\n{\"nonce\":\"1\",\"freeze\":true}\n"), "1", "")
	if _, err := os.Stat(wrote); !errors.Is(err, os.ErrNotExist) {
		t.Error("a repeat is done again")
	}
	is("a repeat after a line that broke off, and others that are not calls",
		a.ask("\n{\"nonce\":\"2\",\"fre\n\x00\xff\n[]\nnull\n{}\n{\"freeze\":true}\n"+strings.Repeat("x", link.MaxLine+1)+"\n{\"nonce\":\"1\",\"freeze\":true}\n"), "1", "")
	if _, err := os.Stat(wrote); !errors.Is(err, os.ErrNotExist) {
		t.Error("a line that is not a call is done")
	}
	is("another call", a.ask("\n{\"nonce\":\"2\",\"freeze\":true}\n"), "2", "")
	if _, err := os.Stat(wrote); err != nil {
		t.Errorf("another call is not done: %v", err)
	}
	is("a call that says nothing", a.ask("{\"nonce\":\"3\"}\n"), "3", "unknown call")
	if err := os.RemoveAll(g.group); err != nil {
		t.Fatal(err)
	}
	is("a call that fails", a.ask("{\"nonce\":\"4\",\"freeze\":true}\n"), "4", "no such file")
	is("its repeat", a.ask("{\"nonce\":\"4\",\"freeze\":true}\n"), "4", "no such file")
}

// Both sides of the protocol, as they are.
func TestTheHostCallsAGuest(t *testing.T) {
	for name, c := range map[string]struct {
		call  link.Call
		group string
		want  string // A part of the refusal.
		wrote string
	}{
		"freeze":                 {link.Call{Freeze: true}, cgroup(t, 1), "", "1"},
		"wake":                   {link.Call{Wake: &link.Wake{}}, cgroup(t, 0), "", "0"},
		"freeze without a group": {link.Call{Freeze: true}, "", "", ""},
		"programs do not stop":   {link.Call{Freeze: true}, cgroup(t, 0), "its programs do not stop", "1"},
		"boot once more":         {link.Call{Boot: &link.Boot{}}, "", "it has booted", ""},
	} {
		client := link.NewClient(host(t, &guest{started: true, group: c.group}), nil)
		err := client.Call(t.Context(), c.call)
		var refused link.RefusedError
		if errors.As(err, &refused) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if value, _ := os.ReadFile(c.group + "/cgroup.freeze"); string(value) != c.wrote {
			t.Errorf("%s: wrote %q", name, value)
		}
		_ = client.Close()
	}
}

// A guest waits for no host: what does not fit into the port is lost.
func TestAnAnswerThatTheHostDoesNotReadIsLost(t *testing.T) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	in, out := os.NewFile(uintptr(pipe[0]), "in"), os.NewFile(uintptr(pipe[1]), "out")
	defer in.Close()
	defer out.Close()
	g := &guest{out: descriptor(out.Fd())}
	for range 2000 {
		g.send(link.Answer{Nonce: strings.Repeat("n", 100)})
	}
	lines := bufio.NewReader(in)
	for n := 0; n < 200; n++ {
		line, err := link.ReadLine(lines)
		if err != nil {
			t.Fatal(err)
		}
		if len(line) > 1 && !json.Valid(line) {
			t.Fatalf("line %d: %q", n, line)
		}
	}
}

// Containers in the guest have groups beside that of its programs.
func TestGroupsBesideAreFrozenToo(t *testing.T) {
	g := &guest{groups: t.TempDir()}
	g.group = filepath.Join(g.groups, "machine")
	const frozen, running = "frozen 1\n", "frozen 0\n"
	state := func(name, freeze, events string) {
		t.Helper()
		dir := filepath.Join(g.groups, name)
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(dir+"/cgroup.freeze", []byte(freeze), 0o600), os.WriteFile(dir+"/cgroup.events", []byte(events), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	want := func(name, value string) {
		t.Helper()
		if got, err := os.ReadFile(filepath.Join(g.groups, name, "cgroup.freeze")); err != nil || string(got) != value {
			t.Errorf("%s: %q, %v, want %q", name, got, err, value)
		}
	}
	state("machine", "0", frozen)
	state("docker", "0\n", frozen)
	state("paused", "1\n", frozen)
	state("removed", "0\n", frozen)
	for range 2 {
		if err := g.freeze(true); err != nil {
			t.Fatal(err)
		}
	}
	want("machine", "1")
	want("docker", "1")
	state("machine", "1", running)
	state("docker", "1", running)
	if err := os.RemoveAll(filepath.Join(g.groups, "removed")); err != nil {
		t.Fatal(err)
	}
	if err := g.freeze(false); err != nil {
		t.Fatal(err)
	}
	want("machine", "0")
	want("docker", "0")
	want("paused", "1\n")
}
