package link

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestACallEndsWithItsContext(t *testing.T) {
	for name, reads := range map[string]bool{"the guest reads and does not answer": true, "the guest reads nothing": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, g := connect(t, nil)
				if reads {
					go g.drain()
				}
				began := time.Now()
				call := func(limit time.Duration) {
					ctx, cancel := context.WithTimeout(t.Context(), limit)
					defer cancel()
					if err := client.Call(ctx, Call{Freeze: true}); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("the call of %v: %v", limit, err)
					}
					if took := time.Since(began); took != limit {
						t.Errorf("the call of %v ended after %v", limit, took)
					}
				}
				var all sync.WaitGroup
				for _, limit := range []time.Duration{time.Second, 2 * time.Second, 90 * time.Second} {
					all.Go(func() { call(limit) })
				}
				all.Wait()
				if n := len(client.waiting); n != 0 {
					t.Errorf("%d calls are kept", n)
				}
			})
		})
	}
}

// socketPair returns both ends of a connection whose buffers are full soon.
func socketPair(t *testing.T) (host, guest *net.UnixConn) {
	t.Helper()
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	host, guest = conn.(*net.UnixConn), accepted.(*net.UnixConn)
	if err := errors.Join(host.SetWriteBuffer(4<<10), guest.SetReadBuffer(4<<10)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close(); guest.Close() })
	return host, guest
}

// A call that does not fit into the buffers breaks off in the middle of its line. The next one is whole.
func TestALineIsBrokenOff(t *testing.T) {
	host, guest := socketPair(t)
	client := NewClient(host, nil)
	defer client.Close()
	long := Call{Boot: &Boot{Env: []string{strings.Repeat("x", MaxLine-1000)}}}
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if err := client.Call(ctx, long); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		cancel()
	}
	go func() {
		lines, whole := bufio.NewReader(guest), 0
		for {
			line, err := ReadLine(lines)
			if err != nil {
				return
			}
			var call Call
			if json.Unmarshal(line, &call) != nil {
				if bytes.Contains(line, []byte(`"freeze":true`)) {
					t.Error("a whole line is part of one that was broken off")
				}
				continue
			}
			if whole++; !call.Freeze || whole > 1 && call.Boot != nil {
				t.Errorf("line %d is of a call that has ended", whole)
			}
			fmt.Fprintf(guest, "\n{\"nonce\":%q}\n", call.Nonce)
		}
	}()
	if err := client.Call(t.Context(), Call{Freeze: true}); err != nil {
		t.Error(err)
	}
}

// The end of a call's context does not end the write of the next call.
func TestADeadlineIsThatOfItsCall(t *testing.T) {
	client, g := connect(t, nil)
	go func() {
		for {
			call, ok := g.next()
			if !ok {
				return
			}
			// A host that has gone on in the meantime takes no harm.
			fmt.Fprintf(g.conn, "{\"nonce\":%q}\n", call.Nonce)
		}
	}()
	for i := range 2000 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		if err := client.Call(ctx, Call{Freeze: true}); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatalf("call %d: %v", i, err)
		}
		cancel()
		if err := client.Call(t.Context(), Call{Freeze: true}); err != nil {
			t.Fatalf("call %d after one that was canceled: %v", i, err)
		}
	}
}

func TestTheEndOfTheConnectionEndsCalls(t *testing.T) {
	for name, end := range map[string]func(*Client, *testGuest){
		"the guest's end": func(_ *Client, g *testGuest) { g.conn.Close() },
		"close":           func(c *Client, _ *testGuest) { _ = c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, g := connect(t, nil)
				go func() {
					g.next()
					end(client, g)
				}()
				var all sync.WaitGroup
				for range 3 {
					all.Go(func() {
						if err := client.Call(t.Context(), Call{Freeze: true}); err == nil {
							t.Error("a call succeeded without an answer")
						}
					})
				}
				all.Wait()
				if err := client.Call(t.Context(), Call{Freeze: true}); err == nil || !strings.Contains(err.Error(), "link to the guest") {
					t.Errorf("a call after the end: %v", err)
				}
				if err := client.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
