package qmp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const greeting = `{"QMP": {"version": {"qemu": {"micro": 1, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}` + "\r\n"

// serve is a process whose answers are those of a test: answer gets the commands after the first, which begins every connection. A
// connection ends when answer returns false.
func serve(t *testing.T, greets string, answer func(conn net.Conn, command string) bool) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "qmp")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(t.Context(), func() { conn.Close() })()
				fmt.Fprint(conn, greets)
				lines := bufio.NewScanner(conn)
				for first := true; lines.Scan(); first = false {
					var request struct {
						Execute   string         `json:"execute"`
						Arguments map[string]any `json:"arguments"`
					}
					if err := json.Unmarshal(lines.Bytes(), &request); err != nil {
						t.Errorf("request %q: %v", lines.Text(), err)
						return
					}
					switch {
					case first && request.Execute != "qmp_capabilities":
						t.Errorf("the first request is %s", lines.Text())
						return
					case first:
						fmt.Fprint(conn, "{\"return\": {}}\r\n")
					case request.Execute == "echo":
						text, _ := json.Marshal(map[string]any{"return": request.Arguments})
						fmt.Fprintf(conn, "%s\r\n", text)
					case !answer(conn, request.Execute):
						return
					}
				}
			})
		}
	})
	return path
}

func dial(t *testing.T, answer func(conn net.Conn, command string) bool) *Client {
	t.Helper()
	c, err := connect(t.Context(), serve(t, greeting, answer))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// echo makes a request that succeeds as long as the connection is of use.
func echo(c *Client) error {
	var got struct{ Text string }
	err := c.Do(context.Background(), "echo", map[string]any{"Text": "<a> \n"}, &got)
	if err == nil && got.Text != "<a> \n" {
		err = fmt.Errorf("got %q", got.Text)
	}
	return err
}

func TestDo(t *testing.T) {
	event := `{"event": "STOP", "data": {"return": {}}, "timestamp": {"seconds": 1, "microseconds": 2}}` + "\r\n"
	for name, c := range map[string]struct {
		answer string // The connection ends after it, if it is not a whole line.
		want   string // The result, or a part of the error.
		lost   bool   // The connection is of no use after it.
	}{
		"answer":               {`{"return": {"status": "paused"}}` + "\r\n", "paused", false},
		"after events":         {event + event + `{"return": {"status": "paused"}}` + "\r\n" + event, "paused", false},
		"after another answer": {"{}\n" + `{"return": {"status": "paused"}}` + "\r\n", "paused", false},
		"refusal":              {`{"error": {"class": "GenericError", "desc": "no such disk"}}` + "\r\n", "no such disk", false},
		"without a class":      {`{"error": {}}` + "\r\n", "query-status", false},
		"another result":       {`{"return": ["paused"]}` + "\r\n", "cannot unmarshal", true},
		"garbage":              {"\x00\xff\n", "invalid character", true},
		"not an object":        {"[]\n", "cannot unmarshal", true},
		"too long":             {`{"return": {"status": "` + strings.Repeat("x", maxMessage) + `"}}` + "\n", "too long", true},
		"broken off":           {`{"return": {"sta`, "unexpected end", true},
		"none":                 {"", "the process has ended", true},
	} {
		t.Run(name, func(t *testing.T) {
			client := dial(t, func(conn net.Conn, _ string) bool {
				fmt.Fprint(conn, c.answer)
				return strings.HasSuffix(c.answer, "\n")
			})
			var got struct{ Status string }
			err := client.Do(t.Context(), "query-status", nil, &got)
			if err != nil {
				got.Status = err.Error()
			}
			if !strings.Contains(got.Status, c.want) {
				t.Errorf("got %q", got.Status)
			}
			if refused := new(*Error); err != nil && errors.As(err, refused) == c.lost {
				t.Errorf("error %T", err)
			}
			again := echo(client)
			switch {
			case !c.lost && again != nil:
				t.Errorf("the next request: %v", again)
			case c.lost && (again == nil || again.Error() != err.Error()):
				t.Errorf("the next request is made, or has another error: %v", again)
			}
		})
	}
}

func TestARefusalSaysWhatFailed(t *testing.T) {
	client := dial(t, func(conn net.Conn, _ string) bool {
		fmt.Fprintf(conn, `{"error": {"class": "DeviceNotFound", "desc": %q}}`+"\n", strings.Repeat("x", maxMessage/2))
		return true
	})
	var refused *Error
	if err := client.Do(t.Context(), "blockdev-del", nil, nil); !errors.As(err, &refused) || refused.Class != "DeviceNotFound" || refused.Command != "blockdev-del" || len(err.Error()) > 500 {
		t.Errorf("%.1000v", err)
	}
}

// What comes after the end of a request's context is the answer of no other one.
func TestALateAnswerIsNotTheNextOnes(t *testing.T) {
	asked, late, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	client := dial(t, func(conn net.Conn, _ string) bool {
		close(asked)
		<-late
		fmt.Fprint(conn, "{\"return\": {\"Text\": \"late\"}}\r\n")
		if n, _ := conn.Read(make([]byte, 1)); n == 0 {
			close(ended)
		}
		return false
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	err := client.Do(ctx, "stop", nil, nil)
	close(late)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a request whose context ends: %v", err)
	}
	if err := echo(client); !errors.Is(err, context.Canceled) {
		t.Errorf("the next request: %v", err)
	}
	<-ended // A process serves one connection at a time.
}

// A request does not wait longer than its context for one that hangs; the latter stays as it was.
func TestARequestWaitsForAnotherOne(t *testing.T) {
	asked, goOn := make(chan struct{}), make(chan struct{})
	client := dial(t, func(conn net.Conn, _ string) bool {
		close(asked)
		<-goOn
		fmt.Fprint(conn, "{\"return\": {}}\r\n")
		return true
	})
	first := make(chan error, 1)
	go func() { first <- client.Do(t.Context(), "stop", nil, nil) }()
	<-asked
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := client.Do(ctx, "cont", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a request behind another one: %v", err)
	}
	waits := make(chan error, 1)
	go func() { waits <- echo(client) }()
	close(goOn)
	if err := errors.Join(<-first, <-waits); err != nil {
		t.Error(err)
	}
}

// slow is a connection whose deadline is set late.
type slow struct {
	net.Conn
	begun, goOn chan struct{}
}

func (s *slow) SetDeadline(at time.Time) error {
	if !at.IsZero() {
		close(s.begun)
		<-s.goOn
	}
	return s.Conn.SetDeadline(at)
}

// A context that ends just as the answer comes ends no other request.
func TestADeadlineIsThatOfItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, process := net.Pipe()
		conn := &slow{host, make(chan struct{}), make(chan struct{})}
		client := newClient(conn)
		defer client.Close()
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for lines := bufio.NewScanner(process); lines.Scan(); {
				cancel()
				<-conn.begun
				fmt.Fprint(process, "{\"return\": {}}\r\n")
			}
		}()
		first := make(chan error, 1)
		go func() { first <- client.Do(ctx, "stop", nil, nil) }()
		synctest.Wait()
		close(conn.goOn)
		synctest.Wait()
		if err := errors.Join(<-first, client.Do(t.Context(), "cont", nil, nil)); err != nil {
			t.Error(err)
		}
	})
}

func TestAProcessThatReadsNothing(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "qmp"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			fmt.Fprint(conn, greeting, "{\"return\": {}}\r\n")
			<-t.Context().Done()
			conn.Close()
		}
	}()
	client, err := connect(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := client.Do(ctx, "echo", map[string]any{"text": strings.Repeat("x", 8<<20)}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%.300v", err)
	}
}

func TestCloseEndsARequest(t *testing.T) {
	asked := make(chan struct{})
	client := dial(t, func(conn net.Conn, _ string) bool {
		close(asked)
		_, _ = conn.Read(make([]byte, 1))
		return false
	})
	go func() {
		<-asked
		client.Close()
	}()
	if err := client.Do(t.Context(), "stop", nil, nil); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// connect connects to a socket.
func connect(ctx context.Context, path string) (*Client, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	return New(ctx, conn)
}

func TestNew(t *testing.T) {
	none := func(net.Conn, string) bool { return false }
	if _, err := connect(t.Context(), serve(t, "not QMP\n", none)); err == nil {
		t.Error("the greeting is not QMP")
	}
	// Nothing accepts, as with a process that is stopped.
	path := filepath.Join(t.TempDir(), "qmp")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := connect(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a process that hangs: %v", err)
	}
}

// replay is a connection that reads a text, and loses what is written.
type replay struct {
	net.Conn // Nil: other methods are not used.
	in       *bytes.Reader
}

func (r *replay) Read(p []byte) (int, error)  { return r.in.Read(p) }
func (r *replay) Write(p []byte) (int, error) { return len(p), nil }
func (r *replay) Close() error                { return nil }

// Whatever a process writes, a request has a result, is refused, or ends the connection.
func FuzzDo(f *testing.F) {
	f.Add([]byte(greeting + "{\"return\": {}}\r\n{\"return\": {\"status\": \"running\"}}\n"))
	f.Add([]byte("{\"event\": \"STOP\"}\n{\"error\": {\"class\": \"\", \"desc\": \"\\ud800\"}}\nnull\n"))
	f.Add([]byte("{\"return\": null}\n{\"return\": 1, \"error\": {}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := newClient(&replay{in: bytes.NewReader(data)})
		var lost error
		for range 5 {
			var result struct{ Status string }
			err := c.Do(t.Context(), "query-status", nil, &result)
			if lost != nil && !errors.Is(err, lost) {
				t.Fatalf("%v after %v", err, lost)
			}
			if err != nil && !errors.As(err, new(*Error)) {
				lost = err
			}
		}
		if lines := bytes.Count(data, []byte("\n")); lost == nil && lines < 4 {
			t.Errorf("five answers in %d lines", lines+1)
		}
	})
}
