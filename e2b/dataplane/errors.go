package dataplane

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rundlet/rundlet/runtime"
)

// The messages that clients match: the first means that the sandbox is gone for
// good, the second that it lives.
const (
	notFound   = "The sandbox was not found"
	portClosed = "The sandbox is running but port is not open"
)

// gone is the message for a sandbox that is gone, with the reason if it was
// memory.
func gone(err error) string {
	var memory *runtime.OutOfMemoryError
	if errors.As(err, &memory) {
		return notFound + ": " + memory.Detail
	}
	return notFound
}

// proxyError is the body of an answer that does not come from the sandbox.
type proxyError struct {
	SandboxID string `json:"sandboxId"`
	Message   string `json:"message"`
	Port      uint16 `json:"port,omitempty"`
	Code      int    `json:"code"`
}

// bodyGrace is how long net/http may read what is left of a body that nobody
// wants.
const bodyGrace = 5 * time.Second

func writeError(w http.ResponseWriter, r *http.Request, code int, t Target, message string) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyGrace))
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if wantsHTML(r) {
		h.Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(code)
		fmt.Fprintf(w, page, code, html.EscapeString(message), html.EscapeString(t.ID), t.Port)
		return
	}
	e := proxyError{SandboxID: t.ID, Message: message, Code: code}
	if message == portClosed {
		e.Port = t.Port
	}
	h.Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// The client may be gone.
	_ = json.NewEncoder(w).Encode(e)
}

// fail answers a request that got no answer from the sandbox.
func (p *Proxy) fail(w http.ResponseWriter, r *http.Request, err error) {
	t := exchangeOf(r).target
	if r.Context().Err() != nil {
		// The client went away; no answer can be sent.
		panic(http.ErrAbortHandler)
	}
	var wake *wakeError
	var retry *runtime.RetryError
	var limit *LimitError
	switch {
	case errors.As(err, &limit):
		setRetryAfter(w, limit.After)
		writeError(w, r, http.StatusTooManyRequests, t, limit.Error())
	case errors.As(err, &retry):
		setRetryAfter(w, retry.After)
		writeError(w, r, http.StatusServiceUnavailable, t, "The sandbox is not available now: "+retry.Detail)
	case errors.Is(err, runtime.ErrPortClosed):
		writeError(w, r, http.StatusBadGateway, t, portClosed)
	case isGone(err):
		writeError(w, r, http.StatusBadGateway, t, gone(err))
	case errors.Is(err, errNoToken), errors.Is(err, ErrExpired):
		writeError(w, r, http.StatusUnauthorized, t, err.Error())
	case errors.Is(err, runtime.ErrUnavailable):
		writeError(w, r, http.StatusServiceUnavailable, t, "The server is starting or shutting down")
	case errors.Is(err, errTooManyStreams), errors.Is(err, runtime.ErrLacking):
		// Not 502: for clients that means that the sandbox is gone.
		p.log.warn("data plane: too many connections", "sandbox_id", t.ID, "port", t.Port, "error", err)
		setRetryAfter(w, time.Second)
		writeError(w, r, http.StatusServiceUnavailable, t, "The server has too many connections open, try again")
	case errors.Is(err, errTooManyHeads):
		p.log.warn("data plane: too many large headers", "sandbox_id", t.ID, "port", t.Port)
		setRetryAfter(w, time.Second)
		writeError(w, r, http.StatusServiceUnavailable, t, "Too many answers with large headers are in flight, try again")
	case errors.Is(err, errHeadTooLarge):
		writeError(w, r, http.StatusBadGateway, t, "The program in the sandbox sent a header that is too large")
	case errors.Is(err, errSlowHead):
		writeError(w, r, http.StatusBadGateway, t, "The program in the sandbox did not finish its header in time")
	case errors.As(err, &wake):
		p.notResumed(w, r, t, wake.err)
	default:
		p.log.warn("data plane: a sandbox broke off", "sandbox_id", t.ID, "port", t.Port, "error", err)
		writeError(w, r, http.StatusBadGateway, t, "The connection to the sandbox failed before it answered")
	}
}

// setRetryAfter tells the client how long to wait, in whole seconds and at least one.
func setRetryAfter(w http.ResponseWriter, after time.Duration) {
	w.Header().Set("Retry-After", strconv.FormatInt(max(1, int64(math.Ceil(after.Seconds()))), 10))
}

func isGone(err error) bool {
	return errors.Is(err, runtime.ErrSandboxNotFound) || errors.Is(err, runtime.ErrNotRunning)
}

// wantsHTML tells a person at a browser from a script in one, and from all else.
func wantsHTML(r *http.Request) bool {
	h := r.Header
	if !strings.HasPrefix(h.Get("User-Agent"), "Mozilla/") || !strings.Contains(h.Get("Accept"), "text/html") {
		return false
	}
	mode := h.Get("Sec-Fetch-Mode")
	return mode == "" || mode == "navigate"
}

const page = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>%[1]d</title></head>
<body><h1>%[1]d</h1><p>%[2]s.</p><p>Sandbox <code>%[3]s</code>, port %[4]d.</p></body></html>
`
