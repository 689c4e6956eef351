//go:build linux

package agent

import (
	"net/http"
	"time"

	"github.com/rundlet/rundlet/agent/reply"
	"github.com/rundlet/rundlet/agent/sandbox"
	"github.com/rundlet/rundlet/agent/stream"
	"github.com/rundlet/rundlet/envd"
)

// writeStall is how long one write to a client may block.
const writeStall = 60 * time.Second

// authenticate asks for the access token, except where a request proves itself
// in another way or needs no proof.
func (s *Server) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := s.state.AccessToken()
		if token != "" && !exempt(r) && !sandbox.Equal(r.Header.Get(envd.AccessTokenHeader), token) {
			reply.Error(w, http.StatusUnauthorized, "unauthorized access, please provide a valid access token or method signing if supported")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func exempt(r *http.Request) bool {
	switch r.URL.Path {
	case envd.HealthPath, envd.InitPath, envd.DialPath, envd.TrustPath, envd.CopyPath, envd.RootPath, envd.RootTimesPath:
		return true
	case envd.FilesPath:
		// A signature serves as well; the handler checks both.
		return r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodPost
	}
	return false
}

// forHost lets the host alone in, which has given the agent a control token before.
func (s *Server) forHost(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.initMu.Lock()
		token := s.controlToken
		s.initMu.Unlock()
		if token == "" || !sandbox.Equal(r.Header.Get(envd.ControlTokenHeader), token) {
			reply.Error(w, http.StatusUnauthorized, "invalid control token")
			return
		}
		next(w, r)
	}
}

// cors lets any page call the agent: what protects it is the token.
func cors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Origin") != "" {
			h := w.Header()
			h.Set("Access-Control-Allow-Origin", "*")
			h.Set("Access-Control-Expose-Headers", "*")
			if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
				h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
				allow := r.Header.Get("Access-Control-Request-Headers")
				if allow == "" {
					allow = "*"
				}
				h.Set("Access-Control-Allow-Headers", allow)
				h.Set("Access-Control-Max-Age", "7200")
				w.WriteHeader(http.StatusNoContent)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// streams prepares a request for connect: the timeout is ours to keep, and a
// client that reads nothing does not hold a stream for ever.
func streams(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		next.ServeHTTP(&boundedWriter{ResponseWriter: w, rc: rc}, stream.TakeTimeout(r))
		_ = rc.SetWriteDeadline(time.Time{})
	})
}

type boundedWriter struct {
	http.ResponseWriter
	rc *http.ResponseController
}

func (w *boundedWriter) Write(b []byte) (int, error) {
	_ = w.rc.SetWriteDeadline(time.Now().Add(writeStall))
	return w.ResponseWriter.Write(b)
}

// Flush is what connect looks for; a client that is gone shows in Write.
func (w *boundedWriter) Flush() {
	_ = w.rc.SetWriteDeadline(time.Now().Add(writeStall))
	_ = w.rc.Flush()
}

// Unwrap serves http.ResponseController.
func (w *boundedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
