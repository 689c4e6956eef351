package ingress

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rundlet/rundlet/bench/plan"
	"github.com/rundlet/rundlet/bench/rows"
	"github.com/rundlet/rundlet/client"
)

// serve runs the server of a guest, and returns its address.
func serve(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	told, w := io.Pipe()
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, "127.0.0.1:0", w) }()
	line, err := bufio.NewReader(told).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return strings.TrimSpace(line)
}

func TestEachWayReachesTheServerAndKeepsConnections(t *testing.T) {
	address := serve(t)
	var dials atomic.Int32
	dial := func(ctx context.Context) (net.Conn, error) {
		dials.Add(1)
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	plain, err := Behind(t.Context(), dial)
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range map[string]*Way{"direct": Direct(dial), "plain": plain} {
		dials.Store(0)
		for range 10 {
			if took, err := w.Ask(t.Context()); err != nil || took <= 0 {
				t.Errorf("%s: %v, %v", name, took, err)
			}
		}
		if n := dials.Load(); n != 1 {
			t.Errorf("%s: %d connections for 10 requests", name, n)
		}
		if took, err := w.Download(t.Context(), 3<<20+1); err != nil || took <= 0 {
			t.Errorf("%s: %v, %v", name, took, err)
		}
		if took, err := w.Load(t.Context(), 100, 8); err != nil || took <= 0 {
			t.Errorf("%s: %v, %v", name, took, err)
		}
		if err := w.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A way that is broken must not look like a fast one.
func TestWhatIsNotTheAnswerIsAnError(t *testing.T) {
	var requests atomic.Int32
	for name, handler := range map[string]http.HandlerFunc{
		"a refusal":       func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusServiceUnavailable) },
		"another answer":  func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "other") },
		"no answer":       func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"the wrong place": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(len(r.Header.Get("E2b-Sandbox-Id")) + 400) },
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			handler(w, r)
		}))
		w := Through(client.API{URL: srv.URL}, "isandbox")
		if _, err := w.Ask(t.Context()); err == nil {
			t.Errorf("%s: a request succeeded", name)
		}
		if _, err := w.Download(t.Context(), 1000); err == nil {
			t.Errorf("%s: a download succeeded", name)
		}
		requests.Store(0)
		if _, err := w.Load(t.Context(), 1000, 3); err == nil || name != "no answer" && requests.Load() > 3 {
			t.Errorf("%s: after %d requests: %v", name, requests.Load(), err)
		}
		if err := w.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		srv.Close()
	}
}

func TestWaysAreMeasuredInTurn(t *testing.T) {
	address := serve(t)
	dial := func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "tcp", address) }
	through, direct := Through(client.API{URL: "http://" + address}, "isandbox"), Direct(dial)
	plain, err := Behind(t.Context(), dial)
	if err != nil {
		t.Fatal(err)
	}
	var table rows.Table
	p := plan.Quick()
	p.DownloadMiB, p.Requests, p.Samples, p.Dear = 1, 50, 1, 2
	m := Measurement{Rows: &table, Clock: func() (time.Duration, error) { return 0, nil }, Plan: p, Through: through, Direct: direct, Plain: plain}
	m.Rounds = func(_ context.Context, n int, round func(int) error) (err error) {
		for i := range n {
			err = errors.Join(err, round(i))
		}
		return err
	}
	if err := errors.Join(m.Run(t.Context()), through.Close(), direct.Close(), plain.Close()); err != nil {
		t.Fatal(err)
	}
	got := table.Result()
	for i, want := range []int{6, 10, 10, 6} {
		if got[i].Ours.Count != want || got[i].Bare.Count != want || got[i].Processor.Count != want || got[i].Ratio() <= 0 {
			t.Errorf("%+v, want %d samples", got[i], want)
		}
	}
	if len(got) != 4 || len(table.Facts) != 2 {
		t.Errorf("%d rows, facts %q", len(got), table.Facts)
	}
	// A way that fails is not measured.
	m.Through = Direct(func(context.Context) (net.Conn, error) { return nil, errors.New("unreachable") })
	if err := m.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "unreachable") {
		t.Errorf("%v", err)
	}
}
