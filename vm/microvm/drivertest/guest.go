//go:build linux

package drivertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/vmtest"
)

// Tick is how often the guest's program counts; GET /ticks is the count.
const Tick = 10 * time.Millisecond

// guestMain is the first program of test guests: a memory of keys and values over HTTP on the agent's port, an echo port, and a console
// printer.
func guestMain() {
	var mu sync.Mutex
	memory := map[string]string{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ping", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "pong") })
	mux.HandleFunc("GET /memory/{key}", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.WriteString(w, memory[r.PathValue("key")])
	})
	mux.HandleFunc("PUT /memory/{key}", func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		memory[r.PathValue("key")] = string(body)
	})
	mux.HandleFunc("GET /file/{name}", func(w http.ResponseWriter, r *http.Request) {
		content, _ := os.ReadFile("/tmp/" + r.PathValue("name"))
		_, _ = w.Write(content)
	})
	mux.HandleFunc("PUT /file/{name}", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := os.WriteFile("/tmp/"+r.PathValue("name"), body, 0o600); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("POST /console", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(os.Stdout, r.Body) })
	mux.HandleFunc("POST /exit", func(http.ResponseWriter, *http.Request) { os.Exit(7) })
	mux.HandleFunc("GET /random", func(w http.ResponseWriter, _ *http.Request) {
		b := make([]byte, 16)
		_, _ = unix.Getrandom(b, 0)
		fmt.Fprintf(w, "%x", b)
	})
	mux.HandleFunc("GET /clock", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, time.Now().UnixNano()) })
	mux.HandleFunc("POST /look", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, vmtest.Look(strings.Split(string(body), "\x00")...))
	})
	var ticks atomic.Int64
	mux.HandleFunc("GET /ticks", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, ticks.Load()) })
	go func() {
		for range time.Tick(Tick) {
			ticks.Add(1)
		}
	}()
	go echoServer()
	fmt.Println("guest ready")
	fmt.Println(http.ListenAndServe(fmt.Sprintf(":%d", envd.Port), mux))
}

func echoServer() {
	l, err := net.Listen("tcp", ":7")
	if err != nil {
		fmt.Println(err)
		return
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			_, _ = io.Copy(conn, conn)
		}()
	}
}

// Client asks the guest of a machine. A test guest can take its time until it listens.
type Client struct{ D *Driver }

// Do makes a request of the test guest of a machine.
func (c Client) Do(ctx context.Context, id, method, path, body string) (string, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		for {
			conn, err := c.D.Dial(ctx, id, envd.Port)
			if !errors.Is(err, vm.ErrUnavailable) {
				return conn, err
			}
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
				return nil, errors.Join(err, ctx.Err())
			}
		}
	}
	h := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
	req, err := http.NewRequestWithContext(ctx, method, "http://guest"+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := h.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// number asks for a number.
func (c Client) number(ctx context.Context, id, path string) (int64, error) {
	text, err := c.Do(ctx, id, "GET", path, "")
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// Write and Read implement vmtest.Guest.
func (c Client) Write(ctx context.Context, id, key, value string) error {
	_, err := c.Do(ctx, id, "PUT", "/memory/"+key, value)
	return err
}

// Read is the value of a key.
func (c Client) Read(ctx context.Context, id, key string) (string, error) {
	return c.Do(ctx, id, "GET", "/memory/"+key, "")
}

// Disk are files in the guest's /tmp.
type Disk struct{ Client }

// Write and Read implement vmtest.Guest.
func (c Disk) Write(ctx context.Context, id, name, content string) error {
	_, err := c.Do(ctx, id, "PUT", "/file/"+name, content)
	return err
}

// Read is the content of a file.
func (c Disk) Read(ctx context.Context, id, name string) (string, error) {
	return c.Do(ctx, id, "GET", "/file/"+name, "")
}
