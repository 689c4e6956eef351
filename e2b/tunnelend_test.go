package e2b

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	goruntime "runtime"
	"testing"
	"time"
)

// The ends of a sandbox break tunnels off, also one whose program has said all, and one of a
// machine that vanishes without a word.
func TestTunnelsEndWithTheirSandbox(t *testing.T) {
	for _, how := range []string{"kill", "vanish", "pause"} {
		for _, said := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s said=%v", how, said), func(t *testing.T) {
				n := newNode(t, Config{})
				n.Silent = true
				id := n.sandbox()
				n.tcp(id, 22, func(c *net.TCPConn) {
					_, _ = io.WriteString(c, "x")
					if said {
						_ = c.CloseWrite()
					}
					_, _ = io.Copy(io.Discard, c)
				})
				c, r, _ := n.dig(id+":22", n.withKey(), "")
				if b, err := r.ReadByte(); b != 'x' || err != nil {
					t.Fatal(err)
				}
				if said {
					if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
						t.Fatal(err)
					}
				}
				switch how {
				case "kill":
					n.do("DELETE", "/sandboxes/"+id, "")
				case "vanish":
					_ = n.Kill(t.Context(), id)
				case "pause":
					n.do("POST", "/sandboxes/"+id+"/pause", "")
				}
				if !said {
					if _, err := io.ReadAll(r); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("a tunnel that broke off ended with %v", err)
					}
				}
				n.noMoreConnections()
				c.Close()
			})
		}
	}
}

// Over HTTP/2 a tunnel is a stream. The client ends its side, and then the program does.
func TestTunnelOverHTTP2(t *testing.T) {
	before := goruntime.NumGoroutine()
	t.Run("node", func(t *testing.T) {
		n := newNode(t, Config{})
		n.h2c()
		id := n.sandbox()
		n.tcp(id, 22, echo)
		n.tcp(id, 23, func(c *net.TCPConn) { // It sends until it is cut, if the client reads.
			for {
				if _, err := c.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		})
		open := func(target string) (*io.PipeWriter, *http.Response) {
			in, out := io.Pipe()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodConnect, n.url, in)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = target
			req.Header.Set("X-API-Key", n.key)
			resp, err := n.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { resp.Body.Close() })
			return out, resp
		}
		out, resp := open(id + ":22")
		if resp.StatusCode != 200 || resp.ProtoMajor != 2 {
			t.Fatalf("%s %s", resp.Proto, resp.Status)
		}
		_, _ = io.WriteString(out, "hello")
		out.Close()
		if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "echo hello" {
			t.Errorf("%q, %v", got, err)
		}
		if _, resp := open(id + ":24"); resp.StatusCode != 502 {
			t.Errorf("closed port: %s", resp.Status)
		}
		// A kill also ends one whose client does not read.
		_, resp = open(id + ":23")
		if _, err := io.ReadFull(resp.Body, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if r := n.do("DELETE", "/sandboxes/"+id, ""); r.code != 204 {
			t.Fatalf("%d %s", r.code, r.body)
		}
		within(t, time.Minute, "the end of the tunnel", func() {
			if _, err := io.Copy(io.Discard, resp.Body); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a killed tunnel ended with %v", err)
			}
		})
		n.stop()
	})
	noMoreGoroutines(t, before)
}

// Nothing is left of tunnels, however they ended.
func TestNothingIsLeftOfTunnels(t *testing.T) {
	before := goruntime.NumGoroutine()
	t.Run("node", func(t *testing.T) {
		n := newNode(t, Config{})
		id := n.sandbox()
		n.tcp(id, 22, echo)
		n.tcp(id, 23, func(c *net.TCPConn) {
			_, _ = c.Read(make([]byte, 1))
			_ = c.SetLinger(0)
		})
		for i := range 20 {
			c, r, resp := n.dig(id+":22", n.withKey(), "x")
			if resp.StatusCode != 200 {
				t.Fatal(resp.Status)
			}
			switch i % 3 {
			case 0:
				_ = c.(*net.TCPConn).CloseWrite()
				_, _ = io.ReadAll(r)
			case 1:
				_ = c.(*net.TCPConn).SetLinger(0)
			}
			c.Close()
			c, r, resp = n.dig(id+":23", n.withKey(), "x")
			if resp.StatusCode != 200 {
				t.Fatal(resp.Status)
			}
			if _, err := io.ReadAll(r); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("what broke off in the sandbox ended with %v", err)
			}
			c.Close()
		}
		n.noMoreConnections()
		if r := n.plain("GET", "/health", toAgent(id)...); r.code != 204 {
			t.Errorf("%d %s", r.code, r.body)
		}
		n.stop()
	})
	noMoreGoroutines(t, before)
}

// A client that breaks off has not said all, and the program must not take it for that.
func TestAProgramLearnsThatItsClientBrokeOff(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	ended, here := make(chan error, 1), make(chan bool, 1)
	n.tcp(id, 22, func(c *net.TCPConn) {
		_, _ = c.Read(make([]byte, 5))
		here <- true
		_, err := io.ReadAll(c)
		ended <- err
	})
	c, _, resp := n.dig(id+":22", n.withKey(), "begin")
	if resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	<-here
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
	within(t, time.Minute, "the program's end", func() {
		if err := <-ended; err == nil {
			t.Error("the program takes what broke off for complete")
		}
	})
	n.noMoreConnections()
}
