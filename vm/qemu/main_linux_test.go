package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/testspace"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/vmtest"
)

const nestedEnv = "QEMU_TEST_NESTED"

// TestMain runs the tests in separate network and mount namespaces, so that nothing of them is ever seen by the host. The same binary is
// also the guest's first program.
func TestMain(m *testing.M) {
	if vmtest.Idle() {
		return
	}
	if os.Args[0] == "/init" {
		guestMain()
		return
	}
	if os.Geteuid() == 0 && os.Getenv(nestedEnv) == "" {
		runtime.LockOSThread()
		os.Exit(testspace.Again(nestedEnv+"=1", func(pid int) string { return fmt.Sprintf("rundlet-test-%d-", pid) }))
	}
	if os.Getenv(nestedEnv) != "" {
		if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	removeShared()
	os.Exit(code)
}

// tick is how often the guest's program does something.
const tick = 10 * time.Millisecond

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
		for range time.Tick(tick) {
			ticks.Add(1)
		}
	}()
	go echoServer()
	fmt.Println("guest ready")
	fmt.Println(http.ListenAndServe(":49983", mux))
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

// client asks the guest of a machine. A test guest can take its time until it listens.
type client struct{ d *opened }

func (c client) do(ctx context.Context, id, method, path, body string) (string, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		for {
			conn, err := c.d.Dial(ctx, id, 49983)
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

func (c client) Write(ctx context.Context, id, key, value string) error {
	_, err := c.do(ctx, id, "PUT", "/memory/"+key, value)
	return err
}

func (c client) Read(ctx context.Context, id, key string) (string, error) {
	return c.do(ctx, id, "GET", "/memory/"+key, "")
}

// disk are files in the guest's /tmp.
type disk struct{ client }

func (c disk) Write(ctx context.Context, id, name, content string) error {
	_, err := c.do(ctx, id, "PUT", "/file/"+name, content)
	return err
}

func (c disk) Read(ctx context.Context, id, name string) (string, error) {
	return c.do(ctx, id, "GET", "/file/"+name, "")
}
