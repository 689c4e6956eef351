package usernet

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// echo is a server that sends everything back.
func echo(c *net.TCPConn) {
	_, _ = io.Copy(c, c)
	_ = c.CloseWrite()
}

// answers checks that an echo server is at the other end.
func answers(c net.Conn) error {
	text := make([]byte, len("hello"))
	if _, err := io.WriteString(c, "hello"); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, text); err != nil || string(text) != "hello" {
		return fmt.Errorf("%q: %w", text, err)
	}
	return nil
}

func TestBothSidesMayEndFirst(t *testing.T) {
	w := newWorld(t, nil)
	w.listen(w.internet, serverAddr+":7000", echo)
	w.listen(w.internet, serverAddr+":7001", func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "bye")
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
		// The end of the client comes after the end of the server.
		_, _ = io.WriteString(c, "too late")
	})
	c := w.tcp(serverAddr + ":7000")
	_, err := io.WriteString(c, "question")
	must(t, err)
	must(t, c.CloseWrite())
	if b, err := io.ReadAll(c); err != nil || string(b) != "question" {
		t.Errorf("after the client's end: %q, %v", b, err)
	}
	c = w.tcp(serverAddr + ":7001")
	if b, err := io.ReadAll(c); err != nil || string(b) != "bye" {
		t.Errorf("until the server's end: %q, %v", b, err)
	}
	for range 10 { // It can still send.
		_, err := c.Write(make([]byte, 100<<10))
		must(t, err)
	}
	must(t, c.CloseWrite())
}

func TestAResetArrives(t *testing.T) {
	w := newWorld(t, nil)
	w.listen(w.internet, serverAddr+":7000", func(c *net.TCPConn) {
		_ = answers(c) // Wait for something.
		_ = c.SetLinger(0)
	})
	c := w.tcp(serverAddr + ":7000")
	_, err := io.WriteString(c, "12345")
	must(t, err)
	if _, err := io.Copy(io.Discard, c); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the client reads: %v", err)
	}
}

func TestWhereNoConnectionIsToBeHad(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.times.dial = time.Second })
	for name, c := range map[string]struct {
		to     string
		within time.Duration
		want   error // Nil is a timeout.
	}{
		"a closed port":    {serverAddr + ":1", 5 * time.Second, unix.ECONNREFUSED},
		"a silent host":    {silentAddr + ":1", 3 * time.Second, nil},
		"a closed gateway": {w.cfg.Gateway().String() + ":1", 5 * time.Second, unix.ECONNREFUSED},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.dial(w.inside, "tcp", c.to, c.within)
			var late net.Error
			if timeout := errors.As(err, &late) && late.Timeout(); timeout != (c.want == nil) || !timeout && !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

// A dial that goes on must not keep others from theirs for longer than its own time.
func TestABoundOfDialsFreesItself(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Dials, c.times.dial = 1, 500*time.Millisecond })
	w.listen(w.internet, serverAddr+":7000", echo)
	if _, err := w.dial(w.inside, "tcp", silentAddr+":1", 100*time.Millisecond); err == nil {
		t.Fatal("a silent host accepted")
	}
	must(t, answers(w.tcp(serverAddr+":7000")))
}

func TestABoundOfConnectionsFreesItself(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Connections = 3 })
	w.listen(w.internet, serverAddr+":7000", echo)
	var open []*net.TCPConn
	for range 3 {
		c := w.tcp(serverAddr + ":7000")
		must(t, answers(c))
		open = append(open, c)
	}
	if _, err := w.dial(w.inside, "tcp", serverAddr+":7000", patience); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("one more than may be: %v", err)
	}
	must(t, answers(open[0]))
	must(t, open[0].Close())
	for deadline := time.Now().Add(patience); ; {
		c, err := w.dial(w.inside, "tcp", serverAddr+":7000", patience)
		if err == nil {
			must(t, answers(c))
			return
		}
		if !errors.Is(err, unix.ECONNREFUSED) || time.Now().After(deadline) {
			t.Fatalf("after the end of one: %v", err)
		}
	}
}

func TestAThousandConnections(t *testing.T) {
	w := newWorld(t, nil)
	w.listen(w.internet, serverAddr+":7000", echo)
	const count, at = 1000, 50
	conns, errs := make([]*net.TCPConn, count), make([]error, at)
	var work sync.WaitGroup
	for worker := range at {
		work.Go(func() {
			for i := worker; i < count; i += at {
				c, err := w.dial(w.inside, "tcp", serverAddr+":7000", patience)
				if err == nil {
					conns[i] = c.(*net.TCPConn)
					err = answers(c)
				}
				errs[worker] = errors.Join(errs[worker], err)
			}
		})
	}
	work.Wait()
	must(t, errors.Join(errs...))
	for _, c := range conns { // All are open.
		must(t, answers(c))
		must(t, c.Close())
	}
}
