package machine

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// Redefine gives a guest that has its identity another environment, as a whole, and other defaults.
func (m *Machines) Redefine(ctx context.Context, g Guest, env map[string]string, d sandbox.Defaults) error {
	token := m.cfg.Tokens.Control(g.ID)
	req := envd.InitRequest{
		Env: env, Timestamp: time.Now(), Hostname: g.ID, SandboxID: g.ID, TemplateID: g.TemplateID,
		CurrentToken: token, ControlToken: token, RandomSeed: make([]byte, 64),
		DefaultUser: cmp.Or(d.User, "user"), DefaultWorkdir: d.Workdir,
	}
	rand.Read(req.RandomSeed)
	if g.Secure {
		req.AccessToken = m.cfg.Tokens.Envd(g.ID)
	}
	if err := envd.Init(ctx, m.Agent(g.ID), req); err != nil {
		return fmt.Errorf("%w: %w", sandbox.ErrNoAnswer, err)
	}
	return nil
}
