package start

import (
	"context"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
)

// Bounds of the requests of a client. They keep a row within what the store takes.
const (
	maxMetadataBytes = 64 << 10
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
	if err := sandbox.CheckEnvironment(req.Env); err != nil {
		return err
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
