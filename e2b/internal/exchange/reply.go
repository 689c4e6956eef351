package exchange

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/rundlet/rundlet/e2b/internal/refusal"
)

// HeaderNextToken is the header of the token of the next page.
const HeaderNextToken = "X-Next-Token"

// Replier answers requests in the protocol's form, and logs the failures that are the server's own. It is safe for concurrent use.
type Replier struct{ Log *slog.Logger }

// Fail answers with an error. subject is that of refusal.Of.
func (a Replier) Fail(w http.ResponseWriter, r *http.Request, err error, subject string) {
	e := refusal.Of(err, subject)
	if e.Status >= http.StatusInternalServerError && e.Status != http.StatusNotImplemented {
		a.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "code", e.Status, "error", err)
	}
	e.Write(w)
}

// JSON answers with v, which is of a type of ours.
func JSON(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		// Only our own types come here, and they marshal.
		panic(err)
	}
	h := w.Header()
	h.Set("Content-Type", refusal.JSONType)
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(code)
	// The client may be gone.
	_, _ = w.Write(b)
}

// Answer writes v, or the error.
func (a Replier) Answer(w http.ResponseWriter, r *http.Request, v any, err error, subject string) {
	if err != nil {
		a.Fail(w, r, err, subject)
		return
	}
	JSON(w, http.StatusOK, v)
}

// Done answers 204, or the error.
func (a Replier) Done(w http.ResponseWriter, r *http.Request, err error, subject string) {
	if err != nil {
		a.Fail(w, r, err, subject)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
