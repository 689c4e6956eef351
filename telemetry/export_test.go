package telemetry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	colpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/rundlet/rundlet/policy/latency"
)

// collectorServer is a collector as operators have it: OTLP over HTTP.
type collectorServer struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*colpb.ExportTraceServiceRequest
	headers  []http.Header
	open     map[net.Conn]bool
	closed   chan struct{} // closed when the last connection went
}

func newCollectorServer(t *testing.T) *collectorServer {
	t.Helper()
	c := &collectorServer{open: map[net.Conn]bool{}, closed: make(chan struct{}, 100)}
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		req := &colpb.ExportTraceServiceRequest{}
		if err == nil {
			err = proto.Unmarshal(b, req)
		}
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/traces" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.requests = append(c.requests, req)
		c.headers = append(c.headers, r.Header)
	}))
	c.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch state {
		case http.StateNew:
			c.open[conn] = true
		case http.StateClosed:
			if delete(c.open, conn); len(c.open) == 0 {
				c.closed <- struct{}{}
			}
		}
	}
	c.Start()
	t.Cleanup(c.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20c2VjcmV0")
	return c
}

// spans returns what was received, by name, with their resource's attributes.
func (c *collectorServer) spans(t *testing.T) (byName map[string]*tracepb.Span, about map[string]string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	byName = map[string]*tracepb.Span{}
	for _, req := range c.requests {
		for _, rs := range req.ResourceSpans {
			about = pairs(rs.Resource.Attributes)
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					if byName[s.Name] != nil {
						t.Errorf("span %s was sent twice", s.Name)
					}
					byName[s.Name] = s
				}
			}
		}
	}
	return byName, about
}

func pairs(attrs []*commonpb.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range attrs {
		switch v := a.Value.Value.(type) {
		case *commonpb.AnyValue_StringValue:
			out[a.Key] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			out[a.Key] = fmt.Sprint(v.IntValue)
		case *commonpb.AnyValue_BoolValue:
			out[a.Key] = fmt.Sprint(v.BoolValue)
		case *commonpb.AnyValue_DoubleValue:
			out[a.Key] = fmt.Sprint(v.DoubleValue)
		}
	}
	return out
}

func TestSpansOfACreateReachACollector(t *testing.T) {
	c := newCollectorServer(t)
	tel, err := New(t.Context(), Config{Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := tel.Start(t.Context(), "create", slog.String("sandbox", "i1"), slog.Int("vcpus", 2), slog.Bool("secure", true),
		slog.Float64("load", 0.5), slog.Duration("timeout", time.Minute), slog.String("hostile", "\xff"+strings.Repeat("x", 1<<20)))
	stages := []string{latency.CreateAdmit, latency.CreateSlot, latency.WarmSnapshotRestore, latency.ReadyProbe, latency.CreateStore, latency.CreateExpose}
	for _, name := range stages {
		_, done := tel.Stage(ctx, name)
		if name == latency.CreateExpose {
			done(errors.New("no room \xff"))
			continue
		}
		done(nil)
	}
	end(nil)
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	spans, about := c.spans(t)
	if len(spans) != 7 || about["service.name"] != "rundlet" || about["service.version"] != "v1" {
		t.Fatalf("%d spans of %v", len(spans), about)
	}
	parent := spans["create"]
	if len(parent.ParentSpanId) != 0 {
		t.Error("the create has a parent")
	}
	attrs := pairs(parent.Attributes)
	for key, want := range map[string]string{"sandbox": "i1", "vcpus": "2", "secure": "true", "load": "0.5", "timeout": "1m0s"} {
		if attrs[key] != want {
			t.Errorf("%s is %q, want %q", key, attrs[key], want)
		}
	}
	if n := len(attrs["hostile"]); n == 0 || n > maxText {
		t.Errorf("a hostile attribute has %d bytes", n)
	}
	for _, name := range stages {
		s := spans[name]
		if !bytes.Equal(s.ParentSpanId, parent.SpanId) || !bytes.Equal(s.TraceId, parent.TraceId) {
			t.Errorf("%s is not part of the create", name)
		}
		if s.StartTimeUnixNano < parent.StartTimeUnixNano || s.EndTimeUnixNano > parent.EndTimeUnixNano {
			t.Errorf("%s is not within the create", name)
		}
		failed := s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR
		if want := name == latency.CreateExpose; failed != want || failed && s.Status.Message != "no room " {
			t.Errorf("%s has status %v", name, s.Status)
		}
	}
	if got := tel.Recorder().Summaries(); len(got) != len(stages)-1 {
		t.Errorf("samples of %d stages, want those that succeeded: %v", len(got), got)
	}
	if got := c.headers[0].Get("Authorization"); got != "Basic c2VjcmV0" {
		t.Errorf("authorization %q", got)
	}
	select {
	case <-c.closed:
	case <-time.After(time.Minute):
		t.Error("Shutdown left a connection")
	}
}

func TestSpansGoNowhereWithoutAnEndpoint(t *testing.T) {
	tel := untraced(t)
	if tel.spans != nil {
		t.Error("spans are collected")
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
	t.Setenv("OTEL_SDK_DISABLED", "true")
	if tel, err := New(t.Context(), Config{}); err != nil || tel.spans != nil {
		t.Errorf("spans are collected: %v", err)
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestEndpointThatIsNoURLIsRefused(t *testing.T) {
	for _, bad := range []string{"collector:4318", "ftp://collector", "http://", "::", "/v1/traces"} {
		t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", bad)
		if tel, err := New(t.Context(), Config{}); err == nil || !strings.Contains(err.Error(), "OTEL_EXPORTER_OTLP") {
			t.Errorf("%s: %v", bad, err)
			tel.Shutdown(t.Context())
		}
	}
}

// memory is an exporter that fails, or hangs until its context ends, on demand.
type memory struct {
	mu    sync.Mutex
	err   error
	hang  bool
	names []string
	ended int
}

func (m *memory) ExportSpans(ctx context.Context, batch []sdktrace.ReadOnlySpan) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if m.err == nil {
		for _, s := range batch {
			m.names = append(m.names, s.Name())
		}
	}
	return m.err
}

func (m *memory) Shutdown(context.Context) error {
	m.ended++
	return nil
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func traced(t testing.TB, to sdktrace.SpanExporter, log ...io.Writer) *Telemetry {
	t.Helper()
	tel := untraced(t)
	for _, w := range log {
		tel.cfg.Log = slog.New(slog.NewTextHandler(w, nil))
	}
	var err error
	if tel.spans, err = newSpans(context.Background(), tel.cfg, to); err != nil {
		t.Fatal(err)
	}
	return tel
}

// Inside a bubble of synctest, a goroutine that is left fails the test.
func TestShutdownFlushesAndLeavesNothingRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		tel := traced(t, m)
		_, end := tel.Start(t.Context(), "late")
		end(nil)
		if err := tel.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		_, end = tel.Start(t.Context(), "too late")
		end(nil)
		if err := tel.Shutdown(t.Context()); err != nil {
			t.Error("a second Shutdown:", err)
		}
		if fmt.Sprint(m.names) != "[late]" || m.ended != 1 {
			t.Errorf("sent %v, ended %d times", m.names, m.ended)
		}
	})
}

func TestShutdownEndsWithItsContextThoughTheCollectorHangs(t *testing.T) {
	for _, given := range []time.Duration{0, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			tel := traced(t, &memory{hang: true})
			_, end := tel.Start(t.Context(), "lost")
			end(nil)
			ctx, cancel := context.WithTimeout(t.Context(), given)
			defer cancel()
			begin := time.Now()
			if err := tel.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("given %v: %v", given, err)
			}
			if took := time.Since(begin); took != given {
				t.Errorf("took %v, given %v", took, given)
			}
		})
	}
}

func TestLossOfTheCollectorIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, log := &memory{}, &bytes.Buffer{}
		tel := traced(t, m, log)
		send := func(times int) {
			for range times {
				_, end := tel.Start(t.Context(), "s")
				end(nil)
				time.Sleep(10 * time.Second) // More than the SDK collects for.
				synctest.Wait()
			}
		}
		send(2)
		m.fail(errors.New("connection refused"))
		send(5)
		if err := tel.spans.exporter.ExportSpans(t.Context(), nil); err != nil {
			t.Errorf("the SDK writes %q to a global logger", err)
		}
		m.fail(nil)
		send(2)
		if err := tel.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if lost, found := strings.Count(log.String(), "dropping spans"), strings.Count(log.String(), "working again"); lost != 1 || found != 1 {
			t.Errorf("lost %d times, found %d times:\n%s", lost, found, log)
		}
		if len(m.names) != 4 {
			t.Errorf("%d spans arrived, want 4", len(m.names))
		}
	})
}
