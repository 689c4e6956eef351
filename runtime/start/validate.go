package start

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
)

// Bounds of the requests of a client. They keep a row, a request to the agent
// and an environment within what the kernel and the store take.
const (
	maxMetadataBytes = 64 << 10
	// maxEnvBytes is the largest body of a request, so that the body is the bound, and
	// MaxVariable the kernel's bound on one variable, with its "=" and the end: no
	// program could be started with a longer one.
	maxEnvBytes = 1 << 20
	MaxVariable = 128 << 10
	// MinTimeout is the shortest timeout.
	MinTimeout = time.Second
)

// Validate checks the request of a client; sandbox.ErrInvalid. It may look a proxy's name up.
func (t *Starter) Validate(ctx context.Context, req sandbox.CreateRequest) error {
	if err := t.ValidateTimeout(req.Timeout); err != nil {
		return err
	}
	policy, err := egress.Compile(req.AllowInternet, req.Egress)
	if err == nil {
		err = t.cfg.Machines.CheckHeaders(policy)
	}
	if err != nil {
		return err
	}
	if n := size(req.Metadata); n > maxMetadataBytes {
		return fmt.Errorf("%w: metadata has %d bytes; at most %d are allowed", sandbox.ErrInvalid, n, maxMetadataBytes)
	}
	if err := checkEnv(req.Env); err != nil {
		return err
	}
	for k, v := range req.Env {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.Contains(v, "\x00") {
			return fmt.Errorf("%w: environment variable %.40q is not valid", sandbox.ErrInvalid, k)
		}
		if n := len(k) + len(v) + 2; n > MaxVariable {
			return fmt.Errorf("%w: environment variable %.40q has %d bytes; at most %d are allowed", sandbox.ErrInvalid, k, n, MaxVariable)
		}
	}
	return fault.Classify(t.cfg.Network.CheckProxy(ctx, policy))
}

// ValidateTimeout checks a timeout; sandbox.ErrInvalid.
func (t *Starter) ValidateTimeout(d time.Duration) error {
	if d < MinTimeout || d > t.cfg.MaxTimeout {
		return fmt.Errorf("%w: timeout must be between %d and %d seconds",
			sandbox.ErrInvalid, int(MinTimeout.Seconds()), int(t.cfg.MaxTimeout.Seconds()))
	}
	return nil
}

func size(m map[string]string) (n int) {
	for k, v := range m {
		n += len(k) + len(v)
	}
	return n
}

// checkEnv bounds an environment.
func checkEnv(env map[string]string) error {
	if n := size(env); n > maxEnvBytes {
		return fmt.Errorf("%w: environment variables have %d bytes; at most %d are allowed", sandbox.ErrInvalid, n, maxEnvBytes)
	}
	return nil
}
