package e2b

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/rundlet/rundlet/e2b/control"
	"github.com/rundlet/rundlet/e2b/dataplane"
	"github.com/rundlet/rundlet/e2b/internal/conns"
	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/e2b/internal/route"
	"github.com/rundlet/rundlet/e2b/internal/uploads"
	"github.com/rundlet/rundlet/envd"
)

// Config is the configuration of a Server. The zero value is usable.
type Config struct {
	// Domain is under which sandboxes have host names, with a port where it is
	// not that of the scheme, as in E2B_DOMAIN. Clients receive it. Empty:
	// clients use their own, and sandbox host names of any domain are served.
	Domain string
	// MaxTimeout is the longest timeout that a client may ask for; 24 h if 0.
	MaxTimeout time.Duration
	// RequireSecure gives a sandbox of the first generation of the API a token for
	// its agent also where its create does not ask for one, and refuses a create
	// that asks for none. Sandboxes that are open already stay so.
	RequireSecure bool
	// Metrics is served as GET /metrics to clients with a key, in X-API-Key or
	// as a bearer token, since collectors of metrics can send one. Nil: the route
	// does not exist.
	Metrics http.Handler
	// MaxConnections is how many connections of clients Serve has open at the
	// same time, and MaxStreams how many the data plane has into sandboxes: both
	// are files of the daemon. DefaultMaxConnections each if 0.
	MaxConnections, MaxStreams int
	// TrustedProxies are the addresses of reverse proxies whose X-Forwarded-For names
	// the client. Those of this machine itself always are.
	TrustedProxies []netip.Prefix
	// MaxUpload is the most bytes of the files of one COPY of a template; 4 GiB if 0.
	MaxUpload int64
	// Grace is how long Serve lets requests finish in the end; 5 s if 0.
	Grace time.Duration
	// Access, if it is not nil, is called for each request when it has ended. It must not block, and is called concurrently.
	Access func(Access)
	// Log defaults to none.
	Log *slog.Logger
}

// Server is the E2B API and the data plane on one port. It is safe for
// concurrent use.
type Server struct {
	cfg      Config
	conns    *conns.Table
	callers  *callers
	requests requests
	startup  startup
	handlers handlers

	// The two planes are made by Open.
	proxy   *dataplane.Proxy
	control *control.Plane
}

// DefaultMaxConnections bounds the cost of idle connections: some 20 KiB each.
const DefaultMaxConnections = 16384

// NewServer returns a server over the adapter. A caller that does not use Serve
// must call Close in the end.
func NewServer(cfg Config, adapter RuntimeAdapter, keys KeyStore) *Server {
	s := NewStarting(cfg)
	s.Open(adapter, keys)
	return s
}

// NewStarting returns a server that has nothing to serve yet: until Open it
// answers health checks, and everything else with 503 after a short wait.
func NewStarting(cfg Config) *Server {
	if cfg.MaxTimeout == 0 {
		cfg.MaxTimeout = 24 * time.Hour
	}
	if cfg.Grace == 0 {
		cfg.Grace = 5 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	open := conns.New(cmp.Or(cfg.MaxConnections, DefaultMaxConnections))
	open.Counting = cfg.Access != nil
	return &Server{
		cfg:      cfg,
		conns:    open,
		callers:  &callers{peers: newPeers(cfg.TrustedProxies)},
		requests: newRequests(),
		startup:  startup{ready: make(chan struct{})},
	}
}

// Open begins to serve sandboxes. It is called once.
func (s *Server) Open(adapter RuntimeAdapter, keys KeyStore) {
	s.callers.keys, s.proxy = keys, dataplane.New(adapter, s.cfg.Log)
	s.proxy.Bound(cmp.Or(s.cfg.MaxStreams, DefaultMaxConnections))
	s.proxy.OnAccess(func(ctx context.Context, token bool) {
		if token {
			s.conns.Raise(ctx, conns.Keyed)
		} else {
			s.conns.Raise(ctx, conns.Visitor)
		}
	})
	s.proxy.OnWork(s.callers.charge)
	s.proxy.OnBreak(func(r *http.Request) { s.conns.Reset(r.Context()) })
	if err := s.proxy.FillSigners(context.Background()); err != nil {
		s.cfg.Log.Warn("could not preload signed URL keys; the first lookups are slower", "error", err)
	}
	s.control = control.New(control.Config{
		Domain: s.cfg.Domain, MaxTimeout: s.cfg.MaxTimeout, RequireSecure: s.cfg.RequireSecure, Metrics: s.cfg.Metrics,
		MaxUpload: s.cfg.MaxUpload, Base: s.callers.peers.base, Log: s.cfg.Log,
	}, adapter, s.proxy)
	close(s.startup.ready)
}

// Close breaks off the streams into sandboxes.
func (s *Server) Close() {
	if s.startup.over() {
		s.proxy.Close()
	}
}

// endStreams ends what would last until requests are broken off, and whose clients can go on elsewhere or later.
func (s *Server) endStreams() {
	if s.startup.over() {
		s.control.Events.EndStreams()
	}
}

// ServeHTTP routes requests to the data plane or the control plane.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.handlers.begin()
	defer s.handlers.end()
	if s.cfg.Access == nil {
		s.serve(w, r)
	} else {
		s.serveLogged(w, r)
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	defer s.conns.Handled(r.Context())
	defer s.breakingOff(r)
	s.conns.HeadRead(r.Context())
	r.TLS = s.conns.TLS(r.Context()) // net/http does not see it.
	release, ok := s.admit(w, r)
	if !ok {
		return
	}
	defer release()
	target, ok, err := route.Of(r, s.cfg.Domain)
	if !s.startup.over() && !s.awaitStart(w, r, target, ok) {
		return
	}
	switch {
	case r.Method == http.MethodConnect:
		s.serveTunnel(w, r)
	case err != nil:
		s.control.Fail(w, r, refusal.BadRouting.With(err))
	case ok:
		s.proxy.Serve(w, r, target)
	case r.URL.Path == envd.FilesPath:
		s.serveSignedFile(w, r)
	case uploads.Is(r):
		s.serveUpload(w, r)
	default:
		s.serveControl(w, r)
	}
}

// serveTunnel serves a CONNECT, which only clients with a key may send.
func (s *Server) serveTunnel(w http.ResponseWriter, r *http.Request) {
	key, err := s.callers.authenticate(r)
	noteKey(w, key)
	if refused, ok := errors.AsType[*refusal.Error](err); ok && refused.Status == http.StatusUnauthorized {
		w.Header()["Proxy-Authenticate"] = []string{`Basic realm="the password is the API key"`, "Bearer"}
		err = refusal.TunnelKeyInvalid.With()
		if refused.Row == refusal.KeyMissing {
			err = refusal.TunnelKeyMissing.With()
		}
	}
	var target route.Target
	if err == nil {
		s.conns.Raise(r.Context(), conns.Keyed)
		if target, err = route.OfTunnel(r, s.cfg.Domain); err != nil {
			err = refusal.BadRouting.With(err)
		}
	}
	if err != nil {
		exchange.BoundBody(w, r)
		s.control.Fail(w, r, err)
		return
	}
	s.proxy.Tunnel(w, r, target)
}

// serveSignedFile serves file URLs that name no sandbox.
func (s *Server) serveSignedFile(w http.ResponseWriter, r *http.Request) {
	target, err := s.proxy.Signed(r)
	var limit *dataplane.LimitError
	switch {
	case errors.As(err, &limit):
		s.control.Fail(w, r, tooMuch(limit.After))
	case err != nil:
		s.control.Fail(w, r, err)
	default:
		noteTarget(w, target)
		s.proxy.Serve(w, r, target)
	}
}

// serveUpload serves an upload of the files of a build, whose link is signed.
func (s *Server) serveUpload(w http.ResponseWriter, r *http.Request) {
	keyID, err := s.control.Uploads.Check(r, time.Now())
	if err != nil {
		exchange.BoundBody(w, r)
		s.control.Fail(w, r, err)
		return
	}
	noteKey(w, Key{ID: keyID})
	s.conns.Raise(r.Context(), conns.Keyed)
	s.control.ServeHTTP(w, r.WithContext(exchange.WithKey(r.Context(), keyID)))
}

// serveControl authenticates a request of the control plane, and serves it.
func (s *Server) serveControl(w http.ResponseWriter, r *http.Request) {
	exchange.BoundBody(w, r)
	if !isPublic(r) {
		key, err := s.callers.authenticate(r)
		if err != nil {
			s.control.Fail(w, r, err)
			return
		}
		noteKey(w, key)
		s.conns.Raise(r.Context(), conns.Keyed)
		asked := r
		r = r.WithContext(exchange.WithRecheck(exchange.WithKey(r.Context(), key.ID), func() bool {
			_, err := s.callers.verify(asked.Context(), apiKey(asked))
			return !errors.Is(err, ErrBadKey)
		}))
	}
	s.control.ServeHTTP(w, r)
}

const (
	// idleTime is longer than that of proxies in front of the server, so that the
	// proxies close first.
	idleTime = 620 * time.Second
	// brokenOffTime is how long a request may take to end after it was broken off.
	brokenOffTime = 5 * time.Second
	streamsPerTCP = 1000
	// A connection of HTTP/2 has memory for one frame from its first byte on, and
	// keeps it: frames are of the size that every client can send. Of an
	// unread body a stream buffers streamBody, which counts as a part of its request,
	// and all streams of a connection connBody: some unread bodies leave most of it to
	// the others, which may be of other clients of a proxy.
	frameSize  = 16 << 10
	streamBody = 128 << 10
	connBody   = 8 << 20
)

// Serve is ServeTLS without TLS.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error { return s.ServeTLS(ctx, ln, nil) }

// ServeTLS serves ln, HTTP/1.1 and HTTP/2, until ctx ends or the listener fails. The
// configuration of TLS has "h2" and "http/1.1" as NextProtos; nil is none. It closes ln, lets requests finish for Config.Grace, breaks off the rest, and
// returns when none is left; nil if ctx ended. The Server cannot be used again.
func (s *Server) ServeTLS(ctx context.Context, ln net.Listener, config *tls.Config) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	// No read or write timeout: streams last. Bodies of the control plane have
	// their own.
	srv := &http.Server{
		Handler:           s,
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: streamsPerTCP, MaxReadFrameSize: frameSize, MaxReceiveBufferPerStream: streamBody, MaxReceiveBufferPerConnection: connBody},
		ReadHeaderTimeout: conns.HeaderTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    conns.MaxHeader,
		ConnContext:       s.conns.Enter,
		ConnState:         s.conns.Changed,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelWarn),
	}
	srv.RegisterOnShutdown(s.endStreams)
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(s.conns.Listener(ln, config)) }()
	select {
	case err := <-failed:
		s.Close()
		srv.Close()
		s.handlers.wait(brokenOffTime)
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Grace)
	defer cancel()
	err := srv.Shutdown(grace)
	s.Close()
	if errors.Is(err, context.DeadlineExceeded) {
		s.conns.ResetBusy()
		err = srv.Close()
	}
	<-failed
	s.handlers.wait(brokenOffTime)
	return err
}
