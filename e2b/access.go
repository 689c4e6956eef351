package e2b

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/route"
	"github.com/rundlet/rundlet/e2b/internal/secrets"
	"github.com/rundlet/rundlet/envd"
)

// Access is a request of a client that has ended. It has no query, no key and no token, and its texts are bounded and
// printable ASCII.
type Access struct {
	// Time is when it ended, and DurationMS how long it took, in milliseconds.
	Time       time.Time `json:"time"`
	DurationMS float64   `json:"duration_ms"`
	// Peer is the address at the other end of the connection, and Client the one that trusted proxies name instead.
	Peer   string `json:"peer"`
	Client string `json:"client,omitempty"`
	// KeyID is the id of the API key that was checked. Requests to sandboxes have no key, but for CONNECT.
	KeyID  string `json:"key_id,omitempty"`
	Method string `json:"method"`
	// Kind is AccessAPI, AccessAgent or AccessPort.
	Kind string `json:"kind"`
	// Path is percent-encoded, as it came.
	Path string `json:"path"`
	// SandboxID and Port are where it went, if it was for a sandbox. It may not exist.
	SandboxID string `json:"sandbox_id,omitempty"`
	Port      uint16 `json:"port,omitempty"`
	// Status is 0 if the answer was broken off before it began.
	Status int `json:"status"`
	// BytesIn and BytesOut are those of the bodies or, after an upgrade, of the connection.
	BytesIn  int64 `json:"bytes_in"`
	BytesOut int64 `json:"bytes_out"`
	// BrokenOff: the answer is not whole.
	BrokenOff bool   `json:"broken_off,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
}

// The kinds of an Access: what it was for.
const (
	AccessAPI   = "api"
	AccessAgent = "agent"
	AccessPort  = "port"
)

// The longest texts of an Access, in bytes.
const maxAccessPath, maxAccessText = 1024, 256

// serveLogged serves a request, and reports it when it has ended.
func (s *Server) serveLogged(w http.ResponseWriter, r *http.Request) {
	a := &accessed{ResponseWriter: w, server: s, begin: time.Now(), r: r, agent: r.UserAgent()}
	if r.Method == http.MethodConnect {
		a.target, _ = route.OfTunnel(r, s.cfg.Domain)
	} else {
		a.target, _, _ = route.Of(r, s.cfg.Domain)
	}
	if r.Body != nil && r.Body != http.NoBody {
		a.body = &countedBody{ReadCloser: r.Body}
		r = r.WithContext(r.Context()) // net/http looks at the body that it has made.
		r.Body = a.body
	}
	defer a.end()
	s.serve(a, r)
	a.whole = true
}

// accessed is the answer to a request that is logged. Its handler is its only user.
type accessed struct {
	http.ResponseWriter
	server *Server
	begin  time.Time
	r      *http.Request
	agent  string // The client's program.
	body   *countedBody
	target route.Target // Its ID is empty for the API.
	keyID  string
	status int
	out    int64
	whole  bool
	// hijacked: the handler has the connection, whose bytes before were so many.
	hijacked            bool
	passedIn, passedOut int64
}

// noteKey notes the key of a request if it is logged, and noteTarget where it goes if its address does not say that.
func noteKey(w http.ResponseWriter, k Key) {
	if a, ok := w.(*accessed); ok {
		a.keyID = k.ID
	}
}

func noteTarget(w http.ResponseWriter, t route.Target) {
	if a, ok := w.(*accessed); ok {
		a.target = t
	}
}

// Unwrap is for http.ResponseController.
func (a *accessed) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *accessed) WriteHeader(status int) {
	if (status >= http.StatusOK || status == http.StatusSwitchingProtocols) && a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *accessed) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(b)
	a.out += int64(n)
	return n, err
}

// Hijack gives the connection away. From then on its bytes count.
func (a *accessed) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	a.hijacked = true
	a.passedIn, a.passedOut = a.server.conns.Passed(a.r.Context())
	a.passedIn -= int64(rw.Reader.Buffered()) // Sent behind the header.
	a.status = http.StatusSwitchingProtocols
	if a.r.Method == http.MethodConnect {
		a.status = http.StatusOK
	}
	return conn, rw, nil
}

// end reports the request.
func (a *accessed) end() {
	now := time.Now()
	out := Access{
		Time: now.UTC(), DurationMS: float64(now.Sub(a.begin).Microseconds()) / 1000, Peer: a.r.RemoteAddr, KeyID: a.keyID,
		Method: shown(a.r.Method, maxAccessText), Kind: AccessAPI, Path: pathOf(a.r), SandboxID: a.target.ID, Port: a.target.Port,
		Status: a.status, BytesOut: a.out, BrokenOff: !a.whole, UserAgent: shown(a.agent, maxAccessText),
	}
	if from, err := netip.ParseAddrPort(a.r.RemoteAddr); err == nil {
		if client := a.server.callers.peers.of(a.r); client != from.Addr().Unmap() {
			out.Client = client.String()
		}
	}
	switch {
	case a.target.ID == "":
	case a.target.Port == envd.Port:
		out.Kind = AccessAgent
	default:
		out.Kind = AccessPort
	}
	if a.whole && a.status == 0 {
		out.Status = http.StatusOK // net/http answers so.
	}
	if a.r.Method == http.MethodHead {
		out.BytesOut = 0
	}
	if a.body != nil {
		out.BytesIn = a.body.n.Load()
	}
	if a.hijacked {
		in, sent := a.server.conns.Passed(a.r.Context())
		out.BytesIn, out.BytesOut = in-a.passedIn, sent-a.passedOut
	}
	a.server.cfg.Access(out)
}

// pathOf is the path of a request without what is secret in it. A question mark that is encoded by mistake begins a query.
func pathOf(r *http.Request) string {
	path := r.URL.EscapedPath()
	for i := range path {
		if mark, ok := strings.CutPrefix(path[i:], "%"); ok {
			for strings.HasPrefix(mark, "25") { // It is encoded more than once.
				mark = mark[2:]
			}
			if len(mark) >= 2 && strings.EqualFold(mark[:2], "3f") {
				return shown(path[:i], maxAccessPath)
			}
		}
	}
	return shown(path, maxAccessPath)
}

// shown is a text of a client without keys, tokens and unprintable bytes, and not longer than most.
func shown(text string, most int) string {
	text = secrets.Redact(text)
	text = text[:min(len(text), most)]
	strange := func(r rune) bool { return r < ' ' || r > '~' }
	if !strings.ContainsFunc(text, strange) {
		return text
	}
	b := []byte(text)
	for i, c := range b {
		if strange(rune(c)) {
			b[i] = '?'
		}
	}
	return string(b)
}

// countedBody counts what is read of a body, also by goroutines that outlive the handler.
type countedBody struct {
	io.ReadCloser
	n atomic.Int64
}

func (c *countedBody) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	c.n.Add(int64(n))
	return n, err
}
