package rootless

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain is what Enter starts, too.
func TestMain(m *testing.M) {
	if code, is := Stage(); is {
		os.Exit(code)
	}
	if os.Getenv(leaver) != "" {
		os.Exit(leave())
	}
	os.Exit(m.Run())
}

// insideOf has the real process outside, and its end.
func insideOf(t *testing.T) *Inside {
	t.Helper()
	near, far, err := socketPair(unix.SOCK_SEQPACKET)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{stageSockets}
	cmd.Env, cmd.ExtraFiles, cmd.Stderr = append(os.Environ(), envStage+"="+stageSockets), []*os.File{far}, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	far.Close()
	conn, err := unixConn(near)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the process outside ends with %v", err)
		}
	})
	return &Inside{outside: &outside{conn: conn}}
}

func TestTheProcessOutsideListens(t *testing.T) {
	in := insideOf(t)
	l, err := in.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			fmt.Fprint(c, "hello")
			c.Close()
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if text, err := io.ReadAll(c); err != nil || string(text) != "hello" {
		t.Errorf("it says %q, %v", text, err)
	}
	p, err := in.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.WriteTo([]byte("x"), p.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if n, _, err := p.ReadFrom(make([]byte, 8)); n != 1 || err != nil {
		t.Errorf("%d bytes came, %v", n, err)
	}
	// The daemon waits for a port that is taken: it must know why it cannot listen.
	if _, err := in.Listen(t.Context(), "tcp", l.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a port that is taken gives %v", err)
	}
	if _, err := in.Listen(t.Context(), "tcp", "no address"); err == nil || !strings.Contains(err.Error(), "no address") {
		t.Errorf("no address gives %v", err)
	}
}

func TestWithoutAProcessOutsideListenSaysSo(t *testing.T) {
	near, far, err := socketPair(unix.SOCK_SEQPACKET)
	if err != nil {
		t.Fatal(err)
	}
	far.Close()
	conn, err := unixConn(near)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := &Inside{outside: &outside{conn: conn}}
	if _, err := in.Listen(t.Context(), "tcp", "127.0.0.1:0"); err == nil {
		t.Error("it listens")
	}
}

// A command that has not entered listens as ever.
func TestNobodyInsideListensAlone(t *testing.T) {
	var in *Inside
	l, err := in.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	p, err := in.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	if err := in.Leave(); err != nil {
		t.Error(err)
	}
}
