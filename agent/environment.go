//go:build linux

package agent

import (
	"encoding/json"
	"os"

	"github.com/rundlet/rundlet/agent/atomicfile"
	"github.com/rundlet/rundlet/agent/generation"
)

// hasEnvironment reports whether the variables were written before; they must not be those of another sandbox.
func (s *Server) hasEnvironment() bool {
	_, err := os.Lstat(s.path(generation.EnvironmentFile))
	return err == nil
}

// tellEnvironment writes the variables of the sandbox for programs that run already. The default user
// may read them, since its commands have them.
func (s *Server) tellEnvironment() {
	text, err := json.Marshal(s.state.Env())
	if err != nil {
		return // Strings are JSON.
	}
	uid := os.Geteuid()
	if u, err := s.state.User(""); err == nil && uid == 0 {
		uid = int(u.UID)
	}
	_ = atomicfile.WriteFor(uid, s.path(generation.EnvironmentFile), text, 0o600) // Without it, programs have those of the template.
}
