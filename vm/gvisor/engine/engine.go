// Package engine carries the program that runs as the processes of a sandbox
// (cmd/rundlet-sandbox) inside the host's binary, selects it, and keeps those of
// earlier releases that snapshots need.
//
// It may import internal/embedded, vm/gvisor/launch, vm/gvisor/files, google/renameio
// and the standard library; only the driver imports it.
package engine

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"io"

	"github.com/rundlet/rundlet/internal/embedded"
)

//go:embed bin
var bin embed.FS

// ErrMissing: this binary was built without the program of sandboxes.
var ErrMissing = errors.New("this binary has no embedded sandbox program")

// HintMissing is what to do about ErrMissing.
const HintMissing = "build it with `make build`"

// Hint is what to do about an error of Program.Extract or Use; empty if that is not known.
func Hint(err error) string {
	switch {
	case errors.Is(err, ErrMissing):
		return HintMissing
	case errors.Is(err, errNoExec):
		return "use a state directory on a file system that is mounted without noexec"
	}
	return ""
}

// errNoExec: no process can execute the program where it is.
var errNoExec = errors.New("the program of sandboxes is on a file system that is mounted with noexec")

// programName is its name without its digest.
const programName = "rundlet-sandbox"

// Program is the one that this binary carries.
var Program = embedded.New(bin, programName, ErrMissing)

// NameOf returns the name that the content of a program gives it, and leaves the file at its beginning.
func NameOf(file io.ReadSeeker) (string, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	_, err := file.Seek(0, io.SeekStart)
	return embedded.BaseOf(programName, hex.EncodeToString(sum.Sum(nil))), err
}
