package dataplane

import (
	"context"
	"crypto/subtle"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/http/httputil"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rundlet/rundlet/runtime"
)

// headerTraffic carries the token that guards the ports of a sandbox without
// public traffic.
const headerTraffic = "E2b-Traffic-Access-Token"

// Proxy carries requests to sandboxes. It is safe for concurrent use and must be
// closed.
type Proxy struct {
	sandboxes Sandboxes
	log       *slog.Logger
	observer  Observer                              // may be nil
	onAccess  func(ctx context.Context, token bool) // may be nil
	pool      pool
	rp        httputil.ReverseProxy
}

// New returns a proxy over the streams that sandboxes dials.
func New(sandboxes Sandboxes, logger *slog.Logger) *Proxy {
	p := &Proxy{sandboxes: sandboxes, log: logger}
	p.pool = pool{sandboxes: sandboxes, runs: make(map[lifecycle]*run)}
	p.rp = httputil.ReverseProxy{
		Rewrite:       rewrite,
		Transport:     roundTripper{},
		FlushInterval: -1,
		BufferPool:    buffers{},
		// That streams break off is everyday: sandboxes are killed.
		ErrorLog:     slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		ErrorHandler: p.fail,
	}
	p.observer, _ = sandboxes.(Observer)
	p.rp.ModifyResponse = func(resp *http.Response) error {
		exchangeOf(resp.Request).request.awaitEnd(resp.Request.Context())
		p.observe(resp)
		return nil
	}
	return p
}

// Bound sets how many connections into sandboxes there may be at the same time.
// One sandbox gets a quarter of them at most. Unbounded without it.
func (p *Proxy) Bound(most int) { p.pool.most, p.pool.mostOfOne = most, max(1, most/4) }

// OnAccess sets what is told of each request for a sandbox that exists, before
// it is carried there, and whether it has a token of that sandbox.
func (p *Proxy) OnAccess(told func(ctx context.Context, token bool)) { p.onAccess = told }

// Close breaks off every stream. Requests after it fail.
func (p *Proxy) Close() { p.pool.close() }

// Drop breaks off every stream of a sandbox that was killed.
func (p *Proxy) Drop(id string) {
	if id != "" {
		p.pool.drop(id)
	}
}

// exchange is what one request needs on its way through the reverse proxy.
type exchange struct {
	target Target
	run    *run
	begin  time.Time
	// request is the body on its way in, where its end matters; else nil.
	request *requestBody
	// again is the body while the request can be sent a second time; else nil.
	again *unread
	// missed is why there was no stream for it the first time.
	missed error
}

type exchangeKey struct{}

func exchangeOf(r *http.Request) *exchange {
	return r.Context().Value(exchangeKey{}).(*exchange)
}

// Serve carries the request to the target and its answer back. A stream that
// breaks off in the sandbox breaks off at the client too (it panics with
// http.ErrAbortHandler), without anything that looks like an end.
func (p *Proxy) Serve(w http.ResponseWriter, r *http.Request, t Target) {
	begin := time.Now()
	if r.Method == http.MethodConnect {
		writeError(w, r, http.StatusMethodNotAllowed, t, "CONNECT is not supported")
		return
	}
	if t.Port == AgentPort && internal(r.URL.Path) {
		writeError(w, r, http.StatusNotFound, t, "not found")
		return
	}
	x := &exchange{target: t, begin: begin}
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	sb, err := p.sandboxes.Get(r.Context(), t.ID)
	if err == nil && !wakes(sb) {
		err = serving(sb.State)
	}
	if err != nil {
		p.fail(w, r, err)
		return
	}
	if t.Port != AgentPort && sb.TrafficAccessToken != "" {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get(headerTraffic)), []byte(sb.TrafficAccessToken)) != 1 {
			writeError(w, r, http.StatusForbidden, t, "missing or wrong "+strings.ToLower(headerTraffic))
			return
		}
	}
	if p.onAccess != nil {
		p.onAccess(r.Context(), hasToken(r, sb))
	}
	if wakes(sb) && sb.AutoResume && !mayWake(r, t, sb) {
		writeError(w, r, http.StatusUnauthorized, t, "missing or wrong "+strings.ToLower(headerAccess))
		return
	}
	if sb.AutoResume {
		x.again = &unread{ReadCloser: r.Body}
		r.Body = x.again
	}
	p.serve(w, r, sb)
	if x.missed != nil {
		// It was paused between the look at its state and the dial.
		p.serve(w, r, runtime.Sandbox{ID: sb.ID, State: runtime.StatePaused, AutoResume: true})
	}
}

// serve carries the request to a sandbox that runs or is resumed first.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, sb runtime.Sandbox) {
	x := exchangeOf(r)
	var err error
	if wakes(sb) {
		// Once: who was resumed and does not run any more was paused on purpose.
		x.again = nil
		sb, err = p.wake(r.Context(), sb.ID)
	}
	if err == nil {
		x.run, err = p.pool.acquire(sb)
	}
	if err != nil {
		p.fail(w, r, err)
		return
	}
	defer x.run.release()
	out := r
	if r.ProtoMajor == 1 && r.ContentLength != 0 && r.ContentLength <= mayBeTaken {
		x.request = newRequestBody(r.Body, http.NewResponseController(w))
		out = r.WithContext(r.Context())
		out.Body = x.request
	}
	p.rp.ServeHTTP(w, out)
}

// hasToken reports whether a request has a token of the sandbox.
func hasToken(r *http.Request, sb runtime.Sandbox) bool {
	for _, t := range []struct{ header, token string }{
		{headerAccess, sb.EnvdAccessToken}, {headerTraffic, sb.TrafficAccessToken},
	} {
		if t.token != "" && subtle.ConstantTimeCompare([]byte(r.Header.Get(t.header)), []byte(t.token)) == 1 {
			return true
		}
	}
	return false
}

// serving tells whether a sandbox in this state takes requests.
func serving(s runtime.State) error {
	switch s {
	case runtime.StateRunning:
		return nil
	case runtime.StateCreating, runtime.StatePausing, runtime.StateResuming:
		return runtime.ErrConflict
	}
	return runtime.ErrNotRunning
}

// internalRoutes of the agent are for the host only.
var internalRoutes = map[string]bool{
	"/init": true, "/freeze": true, "/unfreeze": true, "/collapse": true,
	"/fsfreeze": true, "/fsthaw": true, "/upgrade": true, "/rundlet": true,
}

func internal(urlPath string) bool {
	// The agent's mux would clean the path; what it becomes is what counts.
	clean := path.Clean("/" + urlPath)
	return internalRoutes[clean] || strings.HasPrefix(clean, "/rundlet/")
}

func rewrite(r *httputil.ProxyRequest) {
	r.SetXForwarded()
	t := exchangeOf(r.In).target
	r.Out.URL.Scheme = "http"
	r.Out.URL.Host = t.ID + ":" + strconv.Itoa(int(t.Port))
	// As it came: the service may like semicolons.
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	r.Out.Header.Del(headerTraffic)
	// A key of this server is worth every sandbox on it: code in one of them
	// must not see it. Other keys are between the client and the service.
	if strings.HasPrefix(r.Out.Header.Get("X-API-Key"), "e2b_") {
		r.Out.Header.Del("X-API-Key")
	}
}

// roundTripper sends a request over the connections of its run.
type roundTripper struct{}

func (roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	x := exchangeOf(r)
	switch {
	case x.target.Port == AgentPort:
		return x.run.agent.RoundTrip(r)
	case r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc"):
		return x.run.grpc.RoundTrip(r)
	}
	return x.run.port.RoundTrip(r)
}

// fail answers a request that got no answer from the sandbox.
func (p *Proxy) fail(w http.ResponseWriter, r *http.Request, err error) {
	t := exchangeOf(r).target
	if r.Context().Err() != nil {
		// The client went away; there is nobody to tell.
		panic(http.ErrAbortHandler)
	}
	if x := exchangeOf(r); x.again != nil && x.run != nil && errors.Is(err, errNoStream) && !x.again.touched.Load() {
		x.missed = err
		return
	}
	var wake *wakeError
	var retry *runtime.RetryError
	switch {
	case errors.As(err, &retry):
		w.Header().Set("Retry-After", strconv.FormatInt(int64(math.Ceil(retry.After.Seconds())), 10))
		writeError(w, r, http.StatusServiceUnavailable, t, "The sandbox is not available now: "+retry.Detail)
	case errors.Is(err, runtime.ErrPortClosed):
		writeError(w, r, http.StatusBadGateway, t, portClosed)
	case isGone(err):
		writeError(w, r, http.StatusBadGateway, t, gone(err))
	case errors.Is(err, runtime.ErrConflict):
		writeError(w, r, http.StatusConflict, t, "The sandbox is changing its state, try again")
	case errors.Is(err, runtime.ErrUnavailable):
		writeError(w, r, http.StatusServiceUnavailable, t, "The server is starting or shutting down")
	case errors.Is(err, errTooManyStreams), errors.Is(err, runtime.ErrLacking):
		// Not 502: for clients that means that the sandbox is gone.
		p.log.Warn("data plane", "sandbox", t.ID, "port", t.Port, "error", err)
		w.Header().Set("Retry-After", "1")
		writeError(w, r, http.StatusServiceUnavailable, t, "The server has too many connections open, try again")
	case errors.As(err, &wake):
		p.notResumed(w, r, t, wake.err)
	default:
		p.died(w, r, t, err)
	}
}

// died answers when the stream into a running sandbox failed: perhaps because
// the sandbox ended just now.
func (p *Proxy) died(w http.ResponseWriter, r *http.Request, t Target, err error) {
	sb, getErr := p.sandboxes.Get(r.Context(), t.ID)
	if getErr == nil {
		getErr = serving(sb.State)
	}
	if isGone(getErr) {
		writeError(w, r, http.StatusBadGateway, t, gone(getErr))
		return
	}
	p.log.Warn("data plane", "sandbox", t.ID, "port", t.Port, "err", err)
	writeError(w, r, http.StatusBadGateway, t, "The connection to the sandbox failed before it answered")
}

func isGone(err error) bool {
	return errors.Is(err, runtime.ErrSandboxNotFound) || errors.Is(err, runtime.ErrNotRunning)
}

// buffers lends the copy buffers of the reverse proxy.
type buffers struct{}

var bufferPool = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

func (buffers) Get() []byte { return *bufferPool.Get().(*[]byte) }

func (buffers) Put(b []byte) { bufferPool.Put(&b) }
