//go:build linux

package interpreter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/rundlet/rundlet/agent/interpreter/kernel"
)

// fake is a kernel whose code says what it does. It does not hurry: "hang" ends by Close only, whatever its context says.
type fake struct {
	language, cwd string
	turn          sync.Mutex
	once          sync.Once
	done          chan struct{}
	runs          []kernel.Run
}

func (f *fake) Run(ctx context.Context, r kernel.Run, emit kernel.Emit) error {
	f.turn.Lock()
	defer f.turn.Unlock()
	f.runs = append(f.runs, r)
	switch r.Code {
	case "die":
		f.once.Do(func() { close(f.done) })
		return kernel.ErrEnded
	case "hang":
		if err := emit(kernel.Output("stdout", "hangs")); err != nil {
			return err
		}
		<-f.done
		return kernel.ErrEnded
	case "wait":
		if err := emit(kernel.Output("stdout", "waits")); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}
	return errors.Join(emit(kernel.Output("stdout", f.language+" "+r.Code)), emit(kernel.Event{"type": "result", "json": json.RawMessage("{")}))
}
func (f *fake) Done() <-chan struct{} { return f.done }
func (f *fake) Why() string           { return "exit status 1" }
func (f *fake) Close()                { f.once.Do(func() { close(f.done) }) }

// bench is a server with doubles.
type bench struct {
	*testing.T
	server *Server
	url    string
	root   string
	mu     sync.Mutex
	made   []*fake
	fail   error // Of starts.
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, root: t.TempDir()}
	s := New(Config{Dir: "/", Root: b.root, Start: func(_ context.Context, language, cwd, _ string) (kernel.Kernel, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.fail != nil {
			return nil, b.fail
		}
		b.made = append(b.made, &fake{language: language, cwd: cwd, done: make(chan struct{})})
		return b.made[len(b.made)-1], nil
	}})
	if err := s.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s.Handler())
	b.server, b.url = s, h.URL
	t.Cleanup(func() {
		s.Close()
		h.Close()
		for _, f := range b.made {
			select {
			case <-f.done:
			default:
				t.Error("a kernel still runs")
			}
		}
	})
	return b
}

// ask makes a request, and returns the status and the body.
func (b *bench) ask(method, path, body string) (int, string) {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// run runs code, and returns the texts or errors that came.
func (b *bench) run(code, more string) string {
	b.Helper()
	status, body := b.ask("POST", "/execute", fmt.Sprintf(`{"code":%q%s}`, code, more))
	if status != http.StatusOK {
		return fmt.Sprint(status, " ", body)
	}
	var said []string
	for line := range strings.Lines(body) {
		var e struct{ Type, Text, Name, Value string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			b.Fatalf("%q: %v", line, err)
		}
		said = append(said, strings.TrimSpace(e.Text+e.Name+" "+e.Value))
	}
	return strings.Join(said, ";")
}

func (b *bench) create(body string) *environment {
	b.Helper()
	status, text := b.ask("POST", "/contexts", body)
	e := new(environment)
	if err := json.Unmarshal([]byte(text), e); status != http.StatusCreated || err != nil {
		b.Fatalf("%d %s", status, text)
	}
	return e
}
