package machine

import (
	"context"
	"io"

	"github.com/rundlet/rundlet/envd"
)

// Root asks an initialised guest what it has beside the files of its root: see envd.Root.
func (m *Machines) Root(ctx context.Context, id string, least int64) (envd.RootState, error) {
	return envd.Root(ctx, m.Agent(id), m.cfg.Tokens.Control(id), least)
}

// RestoreExtras is envd.RestoreExtras for an initialised guest.
func (m *Machines) RestoreExtras(ctx context.Context, id string, extras []envd.Extra) error {
	return envd.RestoreExtras(ctx, m.Agent(id), m.cfg.Tokens.Control(id), extras)
}

// RootTimes is envd.RootTimes for an initialised guest.
func (m *Machines) RootTimes(ctx context.Context, id string, w io.Writer) error {
	return envd.RootTimes(ctx, m.Agent(id), m.cfg.Tokens.Control(id), w)
}
