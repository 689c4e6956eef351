package dataplane

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
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
