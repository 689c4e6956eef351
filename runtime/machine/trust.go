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

// trustTimeout is how long an agent may take to put a certificate into its stores.
const trustTimeout = 30 * time.Second

// CheckHeaders says whether this node can set the headers of a policy; sandbox.ErrUnsupported.
func (m *Machines) CheckHeaders(p egress.Policy) error {
	if len(p.Headers) > 0 && m.cfg.Authority == "" {
		return fmt.Errorf("%w: rules for headers: this node has no authority for them, and its log says why", sandbox.ErrUnsupported)
	}
	return nil
}

// Trust makes the programs of a guest trust what sets the headers of its policy. It does nothing for a policy without. The
// errors are sandbox.ErrUnsupported, sandbox.ErrNoAnswer, and an *envd.StatusError of a guest that cannot.
func (m *Machines) Trust(ctx context.Context, id string, p egress.Policy) error {
	if len(p.Headers) == 0 {
		return nil
	}
	if err := m.CheckHeaders(p); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, trustTimeout)
	defer cancel()
	err := envd.Trust(ctx, m.Agent(id), m.cfg.Tokens.Control(id), m.cfg.Authority)
	var answered *envd.StatusError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &answered):
		return fmt.Errorf("%w: %w", sandbox.ErrNoAnswer, err)
	case answered.Status == http.StatusNotFound:
		return fmt.Errorf("%w: rules for headers: the agent of this sandbox is from an earlier release; create the sandbox again", sandbox.ErrUnsupported)
	case answered.Status == http.StatusInsufficientStorage:
		return fmt.Errorf("%w: rules for headers: the disk of the sandbox is full: %w", sandbox.ErrConflict, err)
	}
	return err
}
