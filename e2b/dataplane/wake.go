package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/e2b/internal/route"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// wakes reports a sandbox that traffic resumes, or that is on its way between
// running and paused: the request waits for the outcome, because a client whose
// stream a pause cut asks at once whether the sandbox still runs.
func wakes(sb sandbox.Sandbox) bool {
	return moving(sb.State) || sb.State == sandbox.StatePaused && sb.AutoResume && !sb.FilesystemOnly
}

// moving reports a state between running and paused.
func moving(s sandbox.State) bool {
	return s == sandbox.StatePausing || s == sandbox.StateResuming
}

// wakeError is why a sandbox that was to be resumed was not.
type wakeError struct{ err error }

func (e *wakeError) Error() string { return "resume by traffic: " + e.err.Error() }
func (e *wakeError) Unwrap() error { return e.err }

// wake resumes the sandbox, or waits while others do, as long as ctx. A resume
// without a token is charged, once for all requests that wait for it.
func (p *Proxy) wake(r *http.Request, sb sandbox.Sandbox) (sandbox.Sandbox, error) {
	paid, ok := p.wakers.Enter(sb.ID, p.pool.most, p.pool.mostOfOne)
	if !ok {
		return sb, errTooManyStreams
	}
	defer p.wakers.Leave(sb.ID)
	if sb.State == sandbox.StatePaused && !paid {
		if !exchangeOf(r).shown {
			if wait, ok := p.charge(r, wakeCost); !ok {
				return sb, &LimitError{After: wait}
			}
		}
		p.wakers.Pay(sb.ID)
	}
	// If it is on its way again by now there is no stream for it, and it comes back.
	sb, err := p.sandboxes.Wake(r.Context(), sb.ID)
	if err != nil {
		return sb, &wakeError{err}
	}
	return sb, nil
}

// mayWake returns nil if a request to the agent may resume its sandbox: it must be
// one that the agent would serve. shown reports that it has a token of the
// sandbox, or a signature that only a holder of it can make. Other ports have the traffic
// token, which was checked.
func mayWake(r *http.Request, t route.Target, sb sandbox.Sandbox) (shown bool, err error) {
	if t.Port != envd.Port {
		return sb.TrafficAccessToken != "", nil
	}
	if sb.EnvdAccessToken == "" {
		return false, nil
	}
	if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
		// A browser asks first, without a token. Where anybody may resume the
		// sandbox by way of another port there is nothing to guard.
		if sb.TrafficAccessToken == "" {
			return false, nil
		}
		return false, refusal.ResumeTokenMissing.With(strings.ToLower(envd.AccessTokenHeader))
	}
	refused := checkToken(r, envd.AccessTokenHeader, sb.EnvdAccessToken, refusal.ResumeTokenMissing, refusal.ResumeTokenInvalid)
	if refused == nil {
		return true, nil
	}
	if r.URL.Path == envd.FilesPath {
		switch err := checkSigned(r, sb.EnvdAccessToken); {
		case err == nil:
			return true, nil
		case errors.Is(err, ErrExpired):
			return false, ErrExpired
		}
	}
	return false, refused
}

// notResumed refuses a request to a sandbox that stays paused for now.
func notResumed(err error) *refusal.Error {
	var capacity *sandbox.CapacityError
	var memory *sandbox.OutOfMemoryError
	switch {
	case errors.As(err, &capacity):
		e := refusal.NotResumedBecause.With(capacity)
		if capacity.RetryAfter > 0 || capacity.Resource == "pressure" {
			e.After(capacity.RetryAfter)
		}
		return e
	case errors.Is(err, sandbox.ErrDiskFull):
		return refusal.NotResumedBecause.With(sandbox.ErrDiskFull)
	case errors.As(err, &memory):
		return refusal.NotResumedBecause.With(memory.Detail)
	}
	return refusal.NotResumed.With()
}

// Refresh breaks off the streams of runs of a sandbox that have ended. A call that ended
// one calls it, so that no request waits for the sweep.
func (p *Proxy) Refresh(id string) {
	p.pool.mu.Lock()
	var runs []*run
	for key, r := range p.pool.runs {
		if key.id == id {
			runs = append(runs, r)
		}
	}
	p.pool.mu.Unlock()
	for _, r := range runs {
		r.check()
	}
}

// Healthy asks the agent of a running sandbox whether it is.
func (p *Proxy) Healthy(ctx context.Context, sb sandbox.Sandbox) error {
	run, err := p.pool.acquire(sb)
	if err != nil {
		return err
	}
	defer run.release()
	url := fmt.Sprintf("http://%s:%d%s", sb.ID, envd.Port, envd.HealthPath)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := run.agent.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("the agent answers %s", resp.Status)
	}
	return nil
}
