// Package refusal is the table of everything that the E2B surface refuses, and
// writes the answers: status, code, text, media type and the page for browsers.
// It may import the generated API and sandbox, whose errors it classifies; only packages in and below e2b
// may import it.
package refusal

import (
	"encoding/json"
	"fmt"
	"html"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
)

// JSONType is the media type of all JSON of this server, as E2B spells it.
const JSONType = "application/json; charset=utf-8"

const htmlType = "text/html; charset=utf-8"

// Row is one kind of refusal. Rows are made in this package only.
type Row struct {
	// Name identifies the row.
	Name   string
	Status int
	// Text is the message, a format of package fmt.
	Text string
	// Cause is the error_code of the API; empty for most.
	Cause string
	// Title is that of the page for browsers; the text of the status if empty.
	Title string
	// DataPlane: it answers a request to a sandbox, in the form of E2B's proxy.
	// Otherwise it has the form of the API, which the agent has too.
	DataPlane bool
	// ShowPort: the answer of the data plane has the port.
	ShowPort bool
	// E2B: E2B refuses the same with this status, and with this text where one is
	// known. Clients may match it, so it does not change.
	E2B bool
}

var table []*Row

func add(r Row) *Row {
	table = append(table, &r)
	return &r
}

// Rows returns the whole table.
func Rows() []*Row { return table }

// Error is a refusal in words for the client.
type Error struct {
	*Row
	Message string
	// RetryAfter is sent if positive, in whole seconds, rounded up.
	RetryAfter time.Duration
}

func (e *Error) Error() string { return e.Message }

// With fills in the text.
func (r *Row) With(args ...any) *Error {
	text := r.Text
	if len(args) > 0 {
		text = fmt.Sprintf(text, args...)
	}
	return &Error{Row: r, Message: text}
}

// After makes the client wait that long, at least a second.
func (e *Error) After(wait time.Duration) *Error {
	e.RetryAfter = max(wait, time.Second)
	return e
}

// Wire is the form of the API.
func (e *Error) Wire() openapi.Error {
	return openapi.Error{Code: int32(e.Status), Message: e.Message, ErrorCode: e.Cause}
}

// proxyError is the form of the data plane.
type proxyError struct {
	SandboxID string `json:"sandboxId"`
	Message   string `json:"message"`
	Port      uint16 `json:"port,omitempty"`
	Code      int    `json:"code"`
}

// Write answers a request to the API.
func (e *Error) Write(w http.ResponseWriter) { e.write(w, JSONType, marshal(e.Wire())) }

// WriteTo answers a request to a port of a sandbox: a person at a browser gets a
// page if the refusal is the proxy's own.
func (e *Error) WriteTo(w http.ResponseWriter, r *http.Request, sandboxID string, port uint16) {
	w.Header().Set("Cache-Control", "no-store")
	if !e.DataPlane {
		e.Write(w)
		return
	}
	if wantsPage(r.Header) {
		title := e.Title
		if title == "" {
			title = http.StatusText(e.Status)
		}
		title = html.EscapeString(title)
		e.write(w, htmlType, fmt.Appendf(nil, page, title, html.EscapeString(e.Message), html.EscapeString(sandboxID), port))
		return
	}
	body := proxyError{SandboxID: sandboxID, Message: e.Message, Code: e.Status}
	if e.ShowPort {
		body.Port = port
	}
	e.write(w, JSONType, marshal(body))
}

func (e *Error) write(w http.ResponseWriter, mediaType string, body []byte) {
	h := w.Header()
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64(math.Ceil(e.RetryAfter.Seconds())), 10))
	}
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.Status)
	// The client may be gone.
	_, _ = w.Write(body)
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // Only our own types come here, and they marshal.
	}
	return b
}

// page begins and ends as E2B's pages do.
const page = `<html lang="en"><head><meta charset="utf-8"><title>%[1]s</title></head>` +
	`<body><h1>%[1]s</h1><p>%[2]s</p><p>Sandbox <code>%[3]s</code>, port %[4]d</p></body></html>`
