package e2b

import "net/http"

// breakingOff resets the client's connection if the handler breaks its answer off:
// over HTTP/1 an end of the connection may pass for the end of the answer, or for
// a mistake of the server, and clients ask for the sandbox only after a reset.
// HTTP/2 resets the stream.
func (s *Server) breakingOff(r *http.Request) {
	switch failed := recover(); {
	case failed == nil:
	case failed == http.ErrAbortHandler && r.ProtoMajor == 1: //nolint:errorlint // net/http compares so, too.
		s.conns.Reset(r.Context())
		fallthrough
	default:
		panic(failed)
	}
}
