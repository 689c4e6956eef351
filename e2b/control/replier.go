package control

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/rundlet/rundlet/e2b/internal/refusal"
)

// replier answers requests in the protocol's form, and logs the failures that are the server's own.
type replier struct{ log *slog.Logger }

// fail answers with an error. subject is that of refusal.Of.
func (a replier) fail(w http.ResponseWriter, r *http.Request, err error, subject string) {
	e := refusal.Of(err, subject)
	if e.Status >= http.StatusInternalServerError && e.Status != http.StatusNotImplemented {
		a.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "code", e.Status, "error", err)
	}
	e.Write(w)
}

func writeJSON(w http.ResponseWriter, code int, v any) {
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

// answer writes v, or the error.
func (a replier) answer(w http.ResponseWriter, r *http.Request, v any, err error, subject string) {
	if err != nil {
		a.fail(w, r, err, subject)
		return
	}
	writeJSON(w, http.StatusOK, v)
}

// done answers 204, or the error.
func (a replier) done(w http.ResponseWriter, r *http.Request, err error, subject string) {
	if err != nil {
		a.fail(w, r, err, subject)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
