// Package embedded carries the guest agent inside the host's binary. It may import the
// standard library and internal/embedded; what prepares guests imports it.
package embedded

import (
	"embed"
	"errors"

	"github.com/rundlet/rundlet/internal/embedded"
)

//go:embed bin
var bin embed.FS

// ErrMissing: this binary was built without the agent.
var ErrMissing = errors.New("this binary has no embedded guest agent: build it with `make build`")

var agent = embedded.New(bin, "rundlet-agent", ErrMissing)

// Digest identifies the embedded agent: see embedded.Program. It is empty if there is none.
func Digest() string { return agent.Digest() }

// Extract writes the agent into dir and returns the path: see embedded.Program. The error
// is ErrMissing if this binary has no agent.
func Extract(dir string) (path string, err error) { return agent.Extract(dir) }
