package e2b

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/sandbox"
)

// badRequest refuses an error in the request itself.
func badRequest(format string, args ...any) error {
	return refusal.Invalid.With(fmt.Sprintf(format, args...))
}

func unsupported(feature string) error { return refusal.Unsupported.With(feature) }

// classify is the one place where an error becomes a refusal. subject is the
// sandbox id, or the template name, that the request was about.
func classify(err error, subject string) *refusal.Error {
	var refused *refusal.Error
	var capacity *sandbox.CapacityError
	var memory *sandbox.OutOfMemoryError
	var tooLarge *http.MaxBytesError
	var retry *sandbox.RetryError
	var changed *sandbox.HostChangedError
	var elsewhere *sandbox.ElsewhereError
	var record *sandbox.RecordError
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &tooLarge):
		return refusal.BodyTooLarge.With(tooLarge.Limit)
	case errors.As(err, &memory) && !errors.Is(err, sandbox.ErrNotFound):
		return refusal.OutOfMemory.With(subject, memory.Detail)
	case errors.As(err, &memory):
		return refusal.SandboxNotFoundBecause.With(subject, memory.Detail)
	case errors.Is(err, sandbox.ErrNotFound):
		return refusal.SandboxNotFound.With(subject)
	case errors.Is(err, sandbox.ErrTemplateNotFound):
		return refusal.TemplateNotFound.With(subject)
	case errors.Is(err, sandbox.ErrSnapshotNotFound):
		return refusal.SnapshotNotFound.With(subject)
	case errors.Is(err, sandbox.ErrInvalid):
		return refusal.Invalid.With(err)
	case errors.As(err, &capacity):
		return noCapacity(capacity)
	case errors.Is(err, sandbox.ErrCapacity):
		return refusal.Capacity.With(err).After(time.Second)
	case errors.Is(err, sandbox.ErrLacking):
		return refusal.Lacking.With(sandbox.ErrLacking).After(time.Second)
	case errors.Is(err, sandbox.ErrDiskFull):
		return refusal.DiskFull.With(sandbox.ErrDiskFull)
	case errors.As(err, &changed):
		return refusal.HostChanged.With(subject, changed.File, changed.How)
	case errors.As(err, &elsewhere):
		return refusal.Elsewhere.With(subject, elsewhere)
	case errors.Is(err, sandbox.ErrNotRestorable):
		return refusal.NotRestorable.With(subject)
	case errors.Is(err, sandbox.ErrConflict):
		return refusal.Conflict.With(subject)
	case errors.Is(err, sandbox.ErrNotRunning):
		return refusal.NotRunning.With(subject)
	case errors.Is(err, sandbox.ErrUnsupported):
		return refusal.DriverCannot.With(err)
	case errors.As(err, &retry):
		return refusal.SandboxNotNow.With(subject, retry.Detail).After(retry.After)
	case errors.As(err, &record):
		return refusal.RecordChanged.With(subject)
	case errors.Is(err, sandbox.ErrUnavailable):
		return refusal.Unavailable.With().After(time.Second)
	case errors.Is(err, sandbox.ErrNoAnswer):
		return refusal.NoAnswer.With(subject)
	case errors.Is(err, context.Canceled):
		return refusal.ClientGone.With()
	case errors.Is(err, context.DeadlineExceeded):
		return refusal.TooSlow.With()
	}
	return refusal.Failed.With()
}

// noCapacity names the insufficient resource and the remedy. A request that can
// never fit is the client's mistake (400): newer SDKs would send a 429 again.
// A host that is short of something itself is busy (503), which makes clients
// that nothing was changed; the rest is too much at once (429).
func noCapacity(c *sandbox.CapacityError) *refusal.Error {
	var e *refusal.Error
	switch c.Resource {
	case "pressure":
		e = refusal.Pressure.With()
	case sandbox.ResourceShare:
		e = refusal.Capacity.With(c)
	case "queue":
		e = refusal.QueueFull.With()
	case "wait":
		e = refusal.WaitedInVain.With()
	default:
		if c.RetryAfter <= 0 {
			return refusal.NeverFits.With(c, c.Requested, c.Available)
		}
		e = refusal.NoRoom.With(c, c.Requested, c.Available)
	}
	return e.After(c.RetryAfter)
}

// replier answers requests in the protocol's form, and logs the failures that are the server's own.
type replier struct{ log *slog.Logger }

// fail answers with an error. subject is the one of classify.
func (a replier) fail(w http.ResponseWriter, r *http.Request, err error, subject string) {
	e := classify(err, subject)
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
