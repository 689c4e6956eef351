package machine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/sandbox"
)

// TrustTimeout is how long an agent may take to put a certificate into its stores.
const TrustTimeout = 30 * time.Second

// CheckHeaders says whether this node can set the headers of a policy; sandbox.ErrUnsupported.
func (m *Machines) CheckHeaders(p egress.Policy) error {
	if len(p.Headers) > 0 && m.cfg.Authority == "" {
		return fmt.Errorf("%w: rules for headers: this node has no authority for them, and its log says why", sandbox.ErrUnsupported)
	}
	return nil
}

// Trust makes the programs of an initialised guest trust what sets the headers of its policy. It does nothing for a policy
// without. The errors are sandbox.ErrUnsupported, sandbox.ErrNoAnswer, and a *sandbox.RetryError of a guest that cannot now,
// as on a full disk.
func (m *Machines) Trust(ctx context.Context, id string, p egress.Policy) error {
	if len(p.Headers) == 0 {
		return nil
	}
	if err := m.CheckHeaders(p); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, TrustTimeout)
	defer cancel()
	err := envd.Trust(ctx, m.Agent(id), m.cfg.Tokens.Control(id), m.cfg.Authority)
	var answered *envd.StatusError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &answered) || errors.Is(err, envd.ErrUnauthorized):
		return fmt.Errorf("%w: %w", sandbox.ErrNoAnswer, err)
	case answered.Status == http.StatusNotFound:
		return fmt.Errorf("%w: rules for headers: the agent of this sandbox is from an earlier release; create the sandbox again", sandbox.ErrUnsupported)
	}
	return &sandbox.RetryError{After: time.Second, Detail: fmt.Sprintf("rules for headers: its programs cannot be made to trust what sets them: %.200q", answered.Message)}
}
