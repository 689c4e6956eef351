package e2b

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/runtime"
)

// apiError is an answer that is an error, in words for the client.
type apiError struct {
	code    int
	message string
	// cause is the error_code of the protocol, if it has one for this.
	cause string
	// retryAfter is sent if positive, in whole seconds, rounded up.
	retryAfter time.Duration
}

func (e *apiError) Error() string { return e.message }

func badRequest(format string, args ...any) error {
	return &apiError{code: http.StatusBadRequest, message: fmt.Sprintf(format, args...)}
}

func unsupported(feature string) error {
	return &apiError{code: http.StatusNotImplemented, message: feature + " is not supported by this server yet"}
}

// statusClientGone is what a log shows when nobody was left to answer.
const statusClientGone = 499

// classify is the one place where an error becomes a status. subject is the
// sandbox id, or the template name, that the request was about.
func classify(err error, subject string) *apiError {
	var api *apiError
	var capacity *runtime.CapacityError
	var memory *runtime.OutOfMemoryError
	var tooLarge *http.MaxBytesError
	var retry *runtime.RetryError
	var changed *runtime.HostChangedError
	switch {
	case errors.As(err, &api):
		return api
	case errors.As(err, &tooLarge):
		return &apiError{code: http.StatusRequestEntityTooLarge, message: fmt.Sprintf("request body is larger than %d bytes", tooLarge.Limit)}
	case errors.As(err, &memory) && !errors.Is(err, runtime.ErrSandboxNotFound):
		return &apiError{code: http.StatusInsufficientStorage, message: fmt.Sprintf("Sandbox \"%s\": %s", subject, memory.Detail)}
	case errors.As(err, &memory):
		return &apiError{code: http.StatusNotFound, message: fmt.Sprintf(`Sandbox "%s" doesn't exist or you don't have access to it: %s`, subject, memory.Detail)}
	case errors.Is(err, runtime.ErrSandboxNotFound):
		return &apiError{code: http.StatusNotFound, message: fmt.Sprintf(`Sandbox "%s" doesn't exist or you don't have access to it`, subject)}
	case errors.Is(err, runtime.ErrTemplateNotFound):
		return &apiError{code: http.StatusNotFound, message: fmt.Sprintf("template '%s' not found", subject)}
	case errors.Is(err, runtime.ErrSnapshotNotFound):
		return &apiError{code: http.StatusNotFound, message: fmt.Sprintf("snapshot '%s' not found", subject)}
	case errors.Is(err, runtime.ErrInvalid):
		return &apiError{code: http.StatusBadRequest, message: err.Error()}
	case errors.As(err, &capacity):
		return noCapacity(capacity)
	case errors.Is(err, runtime.ErrCapacity):
		return &apiError{code: http.StatusTooManyRequests, message: err.Error(), retryAfter: time.Second}
	case errors.Is(err, runtime.ErrLacking):
		return &apiError{code: http.StatusServiceUnavailable, message: runtime.ErrLacking.Error() + " of its own; try again later", retryAfter: time.Second}
	case errors.Is(err, runtime.ErrDiskFull):
		return &apiError{code: http.StatusInsufficientStorage, message: runtime.ErrDiskFull.Error()}
	case errors.As(err, &changed):
		return &apiError{code: http.StatusConflict, message: fmt.Sprintf("\"%s\" cannot go on with its memory: the host's file %.200q %s, and a program in the sandbox has it open; its files can still be saved and booted, with \"memory\": false", subject, changed.File, changed.How)}
	case errors.Is(err, runtime.ErrNotRestorable):
		return &apiError{code: http.StatusConflict, message: fmt.Sprintf("\"%s\" cannot be restored on this machine: what it was saved in is damaged or gone, or was made by another version; the server's log has the reason", subject)}
	case errors.Is(err, runtime.ErrConflict):
		return &apiError{code: http.StatusConflict, message: fmt.Sprintf("Sandbox \"%s\" is not in a state that allows this, or is just changing it", subject)}
	case errors.Is(err, runtime.ErrNotRunning):
		return &apiError{code: http.StatusConflict, message: fmt.Sprintf("Sandbox \"%s\" is not running", subject)}
	case errors.Is(err, runtime.ErrUnsupported):
		return &apiError{code: http.StatusNotImplemented, message: err.Error()}
	case errors.As(err, &retry):
		return &apiError{code: http.StatusServiceUnavailable, message: fmt.Sprintf("Sandbox \"%s\" is not available now: %s", subject, retry.Detail), retryAfter: retry.After}
	case errors.Is(err, runtime.ErrUnavailable):
		return &apiError{code: http.StatusServiceUnavailable, message: "the server is starting or shutting down", retryAfter: time.Second}
	case errors.Is(err, runtime.ErrNoAnswer):
		return &apiError{code: http.StatusGatewayTimeout, message: fmt.Sprintf("the agent in sandbox \"%s\" does not answer; if it was paused, it still is", subject)}
	case errors.Is(err, context.Canceled):
		return &apiError{code: statusClientGone, message: "the client closed the request"}
	case errors.Is(err, context.DeadlineExceeded):
		return &apiError{code: http.StatusGatewayTimeout, message: "the server did not finish in time"}
	}
	return &apiError{code: http.StatusInternalServerError, message: "the request failed on the server; its log has the cause"}
}

// noCapacity says which resource does not suffice and what to do about it. What
// can never fit is the client's mistake (400): newer SDKs would send a 429 again.
// A host that is short of something itself is busy (503), which tells clients
// that nothing was changed; the rest is too much at once (429).
func noCapacity(c *runtime.CapacityError) *apiError {
	e := &apiError{code: http.StatusTooManyRequests, retryAfter: max(c.RetryAfter, time.Second)}
	switch c.Resource {
	case "pressure":
		e.code = http.StatusServiceUnavailable
		e.message = "this machine is short of memory or disk and takes nothing new; try again later, or end or pause sandboxes"
	case runtime.ResourceShare:
		e.message = c.Error()
	case "queue":
		e.message = "too many requests wait for room on this machine already; try again later"
	case "wait":
		e.message = "there was no room on this machine for as long as a request may wait; try again later, or end or pause sandboxes"
	default:
		e.message = fmt.Sprintf("%s: %d requested, %d available; ", c, c.Requested, c.Available)
		if c.RetryAfter > 0 {
			e.message += "try again later, or end or pause sandboxes"
		} else {
			e.code, e.retryAfter = http.StatusBadRequest, 0
			e.message += "it can never fit, ask for less"
		}
	}
	return e
}

// fail answers with an error in the protocol's form.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error, subject string) {
	e := classify(err, subject)
	if e.code >= http.StatusInternalServerError && e.code != http.StatusNotImplemented {
		s.cfg.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "code", e.code, "err", err)
	}
	answerError(w, e)
}

func answerError(w http.ResponseWriter, e *apiError) {
	if e.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64(math.Ceil(e.retryAfter.Seconds())), 10))
	}
	writeJSON(w, e.code, wireError(e))
}

func wireError(e *apiError) openapi.Error {
	return openapi.Error{Code: int32(e.code), Message: e.message, ErrorCode: e.cause}
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		// Only our own types come here, and they marshal.
		panic(err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(code)
	// The client may be gone.
	_, _ = w.Write(b)
}

// answer writes v, or the error.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, v any, err error, subject string) {
	if err != nil {
		s.fail(w, r, err, subject)
		return
	}
	writeJSON(w, http.StatusOK, v)
}

// done answers 204, or the error.
func (s *Server) done(w http.ResponseWriter, r *http.Request, err error, subject string) {
	if err != nil {
		s.fail(w, r, err, subject)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
