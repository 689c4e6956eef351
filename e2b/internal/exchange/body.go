package exchange

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/quota"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
)

const (
	// MaxBody bounds the body of a control-plane request.
	MaxBody = 1 << 20
	// BodyTime bounds how long a client may take to send it.
	BodyTime = 30 * time.Second
	// FreeBody is the size that every request may send. Only larger bodies are in the budget
	// of bodies that are being read: allBodies of all keys, bodiesOfOne of one.
	FreeBody               = 8 << 10
	allBodies, bodiesOfOne = 64 << 20, 8 << 20
)

// NewBodies returns one that has read nothing yet.
func NewBodies() *Bodies { return &Bodies{quota.NewBudget(allBodies, bodiesOfOne)} }

// Bodies reads the JSON bodies of requests. It is safe for concurrent use.
type Bodies struct {
	Budget *quota.Budget // bytes that are being read, by API key
}

// Decode reads a JSON body into v. Keys that v does not have are ignored: SDKs
// send more than the protocol asks for. An empty body is an error unless
// optional, and then leaves v alone.
func (b *Bodies) Decode(w http.ResponseWriter, r *http.Request, v any, optional bool) error {
	if n := r.ContentLength; n > FreeBody || n < 0 {
		if n < 0 || n > MaxBody {
			n = MaxBody
		}
		key := KeyID(r.Context())
		if !b.Budget.Take(key, n) {
			return refusal.TooManyBodies.With().After(time.Second)
		}
		defer b.Budget.Give(key, n)
	}
	text, err := io.ReadAll(http.MaxBytesReader(Bare(w), r.Body, MaxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return fmt.Errorf("read body: %w", err)
	case err != nil:
		return refusal.Invalidf("request body ended early or took longer than %s", BodyTime)
	}
	// It was for the body; the wait for the end of the client has none.
	ReadBy(w, time.Time{})
	switch {
	case len(text) == 0 && optional:
		return nil
	case len(text) == 0:
		return refusal.Invalidf("request body is empty; it must be a JSON object")
	}
	if err := json.Unmarshal(text, v); err != nil {
		return refusal.Invalidf("request body: %s", jsonProblem(err))
	}
	return nil
}

// BoundBody bounds how long the body of a request may take, also for a handler that never
// reads it: net/http does, before it answers.
func BoundBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		ReadBy(w, time.Now().Add(BodyTime))
	}
}

// jsonProblem describes the error in words of the protocol, without Go types.
func jsonProblem(err error) string {
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("not valid JSON at byte %d", syntax.Offset)
	case errors.As(err, &wrong) && memberOf(err) != "":
		return fmt.Sprintf("%q has the wrong type or is out of range: %s", memberOf(err), wrong.Value)
	case errors.As(err, &wrong) && wrong.Field == "":
		return fmt.Sprintf("a JSON %s where an object is needed", wrong.Value)
	case errors.As(err, &wrong):
		return fmt.Sprintf("%q has the wrong type or is out of range: %s", wrong.Field, wrong.Value)
	}
	return "not as expected: " + err.Error()
}

// memberOf is the member that an error is about, of an object that takes members of any
// name: there it is only in the words of the generated code.
func memberOf(err error) string {
	rest, found := strings.CutPrefix(err.Error(), "error reading '")
	name, _, whole := strings.Cut(rest, "'")
	if !found || !whole {
		return ""
	}
	return name
}

// ReadBy bounds, or with the zero time stops bounding, reads of the body. Where a writer cannot do it (a recorder in a test) nothing blocks either.
func ReadBy(w http.ResponseWriter, t time.Time) {
	_ = http.NewResponseController(w).SetReadDeadline(t)
}

// Bare is the writer of net/http below others: only by that one a reader of bodies can end the connection of a client that
// sends too much.
func Bare(w http.ResponseWriter) http.ResponseWriter {
	for {
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = outer.Unwrap()
	}
}
