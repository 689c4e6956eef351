package remote

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/internal/halfclose"
)

// guestPorts is a server with the sandbox i1, whose ports lead to these addresses.
func guestPorts(t *testing.T, ports map[string]string) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			if r.URL.Path != "/sandboxes/i1" {
				http.Error(w, `{"code":404,"message":"no such sandbox"}`, http.StatusNotFound)
				return
			}
			_, _ = io.WriteString(w, `{"sandboxID":"i1"}`)
			return
		}
		to, err := net.Dial("tcp", ports[r.Host])
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, `{"code":502,"message":"The sandbox is running but port is not open"}`)
			return
		}
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		halfclose.Join(c, to, nil, func() {
			halfclose.Break(c)
			halfclose.Break(to)
		})
	}))
	t.Cleanup(srv.Close)
	t.Setenv("E2B_API_URL", srv.URL)
	t.Setenv("E2B_API_KEY", "e2b_0")
}

// program serves connections, and returns its address.
func program(t *testing.T, serve func(c *net.TCPConn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			}()
		}
	}()
	return ln.Addr().String()
}

// lines is output that a test waits for.
type lines struct {
	*bufio.Reader
	w *io.PipeWriter
}

func newLines() lines {
	r, w := io.Pipe()
	return lines{bufio.NewReader(r), w}
}

// forwarding runs the command until the test ends it; stop returns its error.
func forwarding(t *testing.T, o *command.Options, args ...string) (out, errs lines, stop func() error) {
	t.Helper()
	out, errs = newLines(), newLines()
	cmd := Sandbox(o)
	cmd.SetOut(out.w)
	cmd.SetErr(errs.w)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(append([]string{"port-forward"}, args...))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.ExecuteContext(ctx)
		out.w.Close()
		errs.w.Close()
	}()
	return out, errs, sync.OnceValue(func() error { cancel(); return <-ended })
}

func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c.(*net.TCPConn)
}

func TestPortForward(t *testing.T) {
	echo := program(t, func(c *net.TCPConn) {
		all, _ := io.ReadAll(c)
		_, _ = fmt.Fprintf(c, "echo %s", all)
	})
	breaks := program(t, func(c *net.TCPConn) {
		_, _ = c.Read(make([]byte, 1))
		_ = c.SetLinger(0)
	})
	guestPorts(t, map[string]string{"i1:80": echo, "i1:81": breaks})
	out, errs, stop := forwarding(t, &command.Options{JSON: true}, "i1", "0:80", "0:81", "0:82")
	address := map[uint16]string{}
	for range 3 {
		line, err := out.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		var one struct {
			SandboxID, Address string
			Port               uint16
		}
		if err := json.Unmarshal(line, &one); err != nil || one.SandboxID != "i1" || !strings.HasPrefix(one.Address, "127.0.0.1:") {
			t.Fatalf("%s: %v", line, err)
		}
		address[one.Port] = one.Address
	}
	for _, size := range []int{0, 5, 1 << 20} { // One after the other failed, too.
		if closed, err := net.Dial("tcp", address[82]); err == nil { // It may have been reset by then.
			_ = closed.SetDeadline(time.Now().Add(time.Minute))
			if _, err := io.ReadAll(closed); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a connection to a closed port ended with %v", err)
			}
			closed.Close()
		}
		if line, err := errs.ReadString('\n'); err != nil || line != "connection to i1 port 82: The sandbox is running but port is not open\n" {
			t.Errorf("%q, %v", line, err)
		}
		c := dial(t, address[80])
		data := strings.Repeat("x", size)
		go func() {
			_, _ = io.WriteString(c, data)
			_ = c.CloseWrite()
		}()
		if got, err := io.ReadAll(c); err != nil || string(got) != "echo "+data {
			t.Errorf("%d bytes of %d, %v", len(got), size, err)
		}
	}
	broken := dial(t, address[81])
	_, _ = io.WriteString(broken, "x")
	if _, err := io.ReadAll(broken); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("what broke off in the sandbox ended with %v", err)
	}
	last := dial(t, address[80])
	if _, err := io.WriteString(last, "x"); err != nil {
		t.Fatal(err)
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	if _, err := io.ReadAll(last); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a connection outlived the command")
	}
	if rest, err := io.ReadAll(errs); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	if c, err := net.Dial("tcp", address[80]); err == nil {
		c.Close()
		t.Error("it still listens")
	}
}

func TestPortForwardSaysWhereItListens(t *testing.T) {
	guestPorts(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	for _, args := range []string{"i1 0:80 " + fmt.Sprint(port), "i1 " + fmt.Sprint(port) + ":80"} {
		out, _, stop := forwarding(t, &command.Options{}, strings.Fields(args)...)
		if said, err := io.ReadAll(out); err != nil || len(said) > 0 { // It ends before it says anything.
			t.Errorf("%s: %q, %v", args, said, err)
		}
		if err := stop(); err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("%s, a port in use: %v", args, err)
		}
	}
	ln.Close()
	for _, args := range []string{fmt.Sprint(port), fmt.Sprintf("--address ::1 %d:80", port)} {
		out, _, stop := forwarding(t, &command.Options{}, append([]string{"i1"}, strings.Fields(args)...)...)
		want := fmt.Sprintf("forwarding 127.0.0.1:%d -> i1 port %d\n", port, port)
		if strings.Contains(args, "::1") {
			want = fmt.Sprintf("forwarding [::1]:%d -> i1 port 80\n", port)
		}
		if line, err := out.ReadString('\n'); err != nil || line != want {
			t.Errorf("%q, %v, want %q", line, err, want)
		}
		if err := stop(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

func TestPortForwardRefuses(t *testing.T) {
	guestPorts(t, nil)
	for args, want := range map[string]string{
		"i1":             "at least 2 arg",
		"i2 80":          "no such sandbox",
		"i1 0":           "two ports",
		"i1 80:":         "two ports",
		"i1 :80":         "two ports",
		"i1 1:2:3":       "two ports",
		"i1 65536":       "two ports",
		"i1 -- -1":       "two ports",
		"i1 +80":         "two ports",
		"i1 http":        "two ports",
		"i1 80:70000":    "two ports",
		"i1 0:80 http":   "two ports",
		"i1 --nonsense":  "unknown flag",
		"--address x 80": "at least 2 arg",
	} {
		cmd := Sandbox(&command.Options{})
		cmd.SetOut(io.Discard)
		cmd.SetErr(io.Discard)
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		cmd.SetArgs(append([]string{"port-forward"}, strings.Fields(args)...))
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

// A program in the sandbox must not take what broke off for all that its client had to say.
func TestPortForwardBreaksOffTheProgramsSide(t *testing.T) {
	begun, ended := make(chan bool), make(chan error)
	collects := program(t, func(c *net.TCPConn) {
		_, _ = c.Read(make([]byte, 1))
		begun <- true
		_, err := io.ReadAll(c)
		ended <- err
	})
	guestPorts(t, map[string]string{"i1:80": collects})
	out, _, stop := forwarding(t, &command.Options{}, "i1", "0:80")
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"client", "command"} {
		c := dial(t, strings.Fields(line)[1])
		_, _ = io.WriteString(c, "x")
		<-begun
		if how == "client" {
			_ = c.SetLinger(0)
			c.Close()
		} else if err := stop(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := <-ended; err == nil {
			t.Errorf("when the %s broke off, the program read a regular end", how)
		}
	}
}

// full is a listener that has no file for a connection at first.
type full struct {
	net.Listener
	errs chan error
}

func (f full) Accept() (net.Conn, error) {
	select {
	case err := <-f.errs:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", err)}
	default:
		return f.Listener.Accept()
	}
}

// A burst of connections that takes all files of the process ends no forwarding.
func TestPortForwardOutlivesALackOfFiles(t *testing.T) {
	guestPorts(t, map[string]string{"i1:80": program(t, func(c *net.TCPConn) { _, _ = io.WriteString(c, "hello") })})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	errs := make(chan error, 2)
	errs <- syscall.EMFILE
	errs <- syscall.ENFILE
	api, err := (&command.Options{}).API()
	if err != nil {
		t.Fatal(err)
	}
	said := newLines()
	f := forwarder{api: api, out: io.Discard, errs: said.w}
	ended := make(chan error, 1)
	var work sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	work.Go(func() {
		ended <- f.accept(ctx, full{ln, errs}, forward{ID: "i1", Port: 80}, &work)
		said.w.Close()
	})
	for range 2 {
		if line, err := said.ReadString('\n'); err != nil || !strings.Contains(line, "too many open files") {
			t.Errorf("%q, %v", line, err)
		}
	}
	if all, err := io.ReadAll(dial(t, ln.Addr().String())); err != nil || string(all) != "hello" {
		t.Errorf("%q, %v", all, err)
	}
	ln.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("it ended with %v", err)
	}
	stop()
	work.Wait()
}
