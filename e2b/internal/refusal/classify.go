package refusal

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/rundlet/rundlet/sandbox"
)

// Invalidf refuses an error in the request itself.
func Invalidf(format string, args ...any) error {
	return Invalid.With(fmt.Sprintf(format, args...))
}

// Of is the one place where an error becomes a refusal. subject is the
// sandbox id, or the name of a template, build or tag, that the request was about.
func Of(err error, subject string) *Error {
	var refused *Error
	var capacity *sandbox.CapacityError
	var memory *sandbox.OutOfMemoryError
	var tooLarge *http.MaxBytesError
	var retry *sandbox.RetryError
	var changed *sandbox.HostChangedError
	var elsewhere *sandbox.ElsewhereError
	var record *sandbox.RecordError
	var prepare *sandbox.PrepareError
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &tooLarge):
		return BodyTooLarge.With(tooLarge.Limit)
	case errors.As(err, &memory) && !errors.Is(err, sandbox.ErrNotFound):
		return OutOfMemory.With(subject, memory.Detail)
	case errors.As(err, &memory):
		return SandboxNotFoundBecause.With(subject, memory.Detail)
	case errors.Is(err, sandbox.ErrNotFound):
		return SandboxNotFound.With(subject)
	case errors.Is(err, sandbox.ErrTemplateNotFound):
		return TemplateNotFound.With(subject)
	case errors.Is(err, sandbox.ErrBuildNotFound):
		return BuildNotFound.With(subject)
	case errors.Is(err, sandbox.ErrTagNotFound):
		return TagNotFound.With(subject)
	case errors.Is(err, sandbox.ErrSnapshotNotFound):
		return SnapshotNotFound.With(subject)
	case errors.Is(err, sandbox.ErrInvalid):
		return Invalid.With(err)
	case errors.As(err, &capacity):
		return noCapacity(capacity)
	case errors.Is(err, sandbox.ErrCapacity):
		return Capacity.With(err).After(time.Second)
	case errors.Is(err, sandbox.ErrLacking):
		return Lacking.With(sandbox.ErrLacking).After(time.Second)
	case errors.Is(err, sandbox.ErrDiskFull):
		return DiskFull.With(sandbox.ErrDiskFull)
	case errors.As(err, &changed):
		return HostChanged.With(subject, changed.File, changed.How)
	case errors.As(err, &elsewhere):
		return Elsewhere.With(subject, elsewhere)
	case errors.Is(err, sandbox.ErrNotRestorable):
		return NotRestorable.With(subject)
	case errors.Is(err, sandbox.ErrConflict):
		return Conflict.With(subject)
	case errors.Is(err, sandbox.ErrNotRunning):
		return NotRunning.With(subject)
	case errors.Is(err, sandbox.ErrUnsupported):
		return DriverCannot.With(err)
	case errors.As(err, &retry):
		return SandboxNotNow.With(subject, retry.Detail).After(retry.After)
	case errors.As(err, &record):
		return RecordChanged.With(subject)
	case errors.As(err, &prepare) && !errors.Is(err, context.Canceled):
		return TemplateNotNow.With(subject, prepare).After(10 * time.Second)
	case errors.Is(err, sandbox.ErrUnavailable):
		return Unavailable.With().After(time.Second)
	case errors.Is(err, sandbox.ErrNoAnswer):
		return NoAnswer.With(subject)
	case errors.Is(err, context.Canceled):
		return ClientGone.With()
	case errors.Is(err, context.DeadlineExceeded):
		return TooSlow.With()
	}
	return Failed.With()
}

// noCapacity names the insufficient resource and the remedy. A request that can
// never fit is the client's mistake (400): newer SDKs would send a 429 again.
// A host that is short of something itself is busy (503), which makes clients
// that nothing was changed; the rest is too much at once (429).
func noCapacity(c *sandbox.CapacityError) *Error {
	var e *Error
	switch c.Resource {
	case "pressure":
		e = Pressure.With()
	case sandbox.ResourceShare:
		e = Capacity.With(c)
	case "queue":
		e = QueueFull.With()
	case "wait":
		e = WaitedInVain.With()
	default:
		if c.RetryAfter <= 0 {
			return NeverFits.With(c, c.Requested, c.Available)
		}
		e = NoRoom.With(c, c.Requested, c.Available)
	}
	return e.After(c.RetryAfter)
}
