package control

import (
	"net/http"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/idempotency"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/sandbox"
)

// ForkSandbox serves POST /sandboxes/{sandboxID}/fork. An error of one child
// is reported in its result; an error of all of them, in the status.
func (o *operations) ForkSandbox(w http.ResponseWriter, r *http.Request, id string, p openapi.ForkSandboxParams) {
	results, err := o.fork(w, r, id, p.IdempotencyKey)
	if err != nil {
		o.reply.Fail(w, r, err, id)
		return
	}
	answer := make([]openapi.SandboxForkResult, len(results))
	for i, result := range results {
		if result.Err != nil {
			e := refusal.Of(result.Err, id).Wire()
			o.log.Warn("forked sandbox did not start", "sandbox_id", id, "code", e.Code, "error", result.Err)
			answer[i].Error = &e
			continue
		}
		sb := o.show.sandbox(result.Sandbox)
		answer[i].Sandbox = &sb
	}
	exchange.JSON(w, http.StatusCreated, answer)
}

func (o *operations) fork(w http.ResponseWriter, r *http.Request, id string, key *string) ([]sandbox.ForkResult, error) {
	var body openapi.SandboxFork
	id, err := o.about(w, r, id, &body, true)
	if err != nil {
		return nil, err
	}
	req := sandbox.ForkRequest{Count: 1, KeyID: exchange.KeyID(r.Context())}
	if body.Count != nil {
		req.Count = int(*body.Count)
	}
	if req.Count < 1 || req.Count > sandbox.MaxForks {
		return nil, refusal.Invalidf("count must be from 1 to %d, got %d", sandbox.MaxForks, req.Count)
	}
	if req.Timeout, err = o.rules.timeout(body.Timeout, defaultTimeoutV1); err != nil {
		return nil, err
	}
	return idempotency.Once(r.Context(), o.answers, exchange.KeyID(r.Context()), key, "fork "+id, req, func() ([]sandbox.ForkResult, error) {
		return o.runtime.Fork(r.Context(), id, req)
	})
}
