// Package program carries the first process of microVMs, cmd/rundlet-init, inside the host's binary. It may import the standard library and
// internal/embedded; drivers import it.
package program

import (
	"embed"
	"errors"

	"github.com/rundlet/rundlet/internal/embedded"
)

//go:embed bin
var bin embed.FS

// ErrMissing says that this binary was built without the program.
var ErrMissing = errors.New("this binary has no embedded first process for microVMs: build it with `make build`")

var first = embedded.New(bin, "rundlet-init", ErrMissing)

// Digest identifies the program: see embedded.Program. It is empty if there is none.
func Digest() string { return first.Digest() }

// Extract writes the program into dir and returns the path: see embedded.Program. The error is ErrMissing if this binary has none.
func Extract(dir string) (path string, err error) { return first.Extract(dir) }
