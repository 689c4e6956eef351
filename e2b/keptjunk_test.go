package e2b

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// What a program sends behind the end of an answer is not the next client's answer, and does not break it.
func TestBytesBehindAnAnswerReachNoOtherRequest(t *testing.T) {
	const length = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
	for name, tc := range map[string]struct{ method, answer string }{
		"a length that is too small": {"GET", length + "ok\n"},
		"a body after HEAD":          {"HEAD", length + "ok"},
		"another answer":             {"GET", length + "ok" + length + "no"},
		"an answer without a body":   {"GET", length + "ok" + "HTTP/1.1 204 No Content\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, Config{})
			id := n.sandbox()
			n.tcp(id, 80, func(c *net.TCPConn) {
				for in := bufio.NewReader(c); ; {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					if _, err := io.WriteString(c, tc.answer); err != nil {
						return
					}
				}
			})
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 300 {
						if r := n.askPort(tc.method, id, "80", ""); r.code != 200 || tc.method == "GET" && r.body != "ok" {
							t.Errorf("%d %q", r.code, r.body)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// Bytes that come late, when there is a next request already, cost it another connection.
func TestLateBytesBehindAnAnswerBreakNoRequest(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	n.tcp(id, 80, func(c *net.TCPConn) {
		in := bufio.NewReader(c)
		for late := ""; ; late = "ok" {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			if _, err := io.WriteString(c, late+"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"); err != nil {
				return
			}
		}
	})
	before := n.Dials()
	for range 10 {
		if r := n.askPort(http.MethodHead, id, "80", ""); r.code != 200 {
			t.Fatalf("%d", r.code)
		}
	}
	if dials := n.Dials() - before; dials < 5 || dials > 10 {
		t.Errorf("%d connections for 10 requests", dials)
	}
}

// A client that asks again and again does not keep the others from a program that serves one connection at a time.
func TestAClientThatAsksOftenLeavesRoom(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.ListenOn(id, 80, ln)
	asked := make(chan struct{}, 1)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			answers(c, 1<<30)
			c.Close()
		}
	}()
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for deadline := time.Now().Add(time.Minute); ; {
			n.askPort(http.MethodGet, id, "80", "")
			select {
			case asked <- struct{}{}:
			default:
			}
			select {
			case <-done:
				return
			default:
			}
			if time.Now().After(deadline) {
				t.Error("another client is not served")
				return
			}
		}
	})
	<-asked
	wg.Go(func() {
		defer close(done)
		if r := n.askPort(http.MethodPost, id, "80", ""); r.code != 200 {
			t.Errorf("%d %s", r.code, r.body)
		}
	})
	wg.Wait()
}
