package machine

import (
	"context"
	"io"

	"github.com/rundlet/rundlet/envd"
)

// Copy puts the files of an archive into an initialised guest: see envd.Copy.
func (m *Machines) Copy(ctx context.Context, id string, req envd.CopyRequest, archive io.Reader) error {
	return envd.Copy(ctx, m.Agent(id), m.cfg.Tokens.Control(id), req, archive)
}
