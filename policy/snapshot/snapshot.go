// Package snapshot is the policy of snapshots as artifacts: what their manifest
// says, how their files are verified, which host can restore them, where they
// come from, and which of them nothing needs any more. It does no I/O:
// bytes come from readers that are passed in, times too. It may import the standard
// library and vm; runtime and the tools above it may import it.
//
// A manifest is kept as a row of the store, never as a file beside the
// artifact: there is no sidecar that collection could forget or delete.
package snapshot

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// Kind is what an artifact is for.
type Kind string

// The kinds of artifact. The spelling is stored and shown.
const (
	// KindBaseTemplate is a prepared template: booted, agent ready, start
	// command running. Every sandbox of the template is restored from it.
	KindBaseTemplate Kind = "base_template"
	// KindSnapshot is taken of a sandbox that keeps running, named or not; a
	// fork restores its children from one.
	KindSnapshot Kind = "snapshot"
	// KindPause is a paused sandbox, memory and file system. Its one sandbox
	// resumes from it.
	KindPause Kind = "pause"
	// KindFilesystemPause is a paused sandbox without memory: a resume boots.
	KindFilesystemPause Kind = "filesystem_pause"
	// KindContinuation is a stopped, idle or exited session, from which a
	// follow-up makes another sandbox. Manifest.Reason says which of the three.
	KindContinuation Kind = "continuation"
	// KindTemplate is a build of a template that a client made, and KindLayer the state after one of its
	// steps, for later builds that begin alike.
	KindTemplate Kind = "template"
	KindLayer    Kind = "layer"
)

// Valid reports whether k is one of the kinds.
func (k Kind) Valid() bool {
	switch k {
	case KindBaseTemplate, KindSnapshot, KindPause, KindFilesystemPause, KindContinuation, KindTemplate, KindLayer:
		return true
	}
	return false
}

// Memory reports whether an artifact of this kind holds guest memory.
func (k Kind) Memory() bool { return k.Valid() && k != KindFilesystemPause }

// Why a session was captured as a continuation; a follow-up keeps the reason.
const (
	ReasonStopped = "stopped"
	ReasonIdle    = "idle"
	ReasonExited  = "exited"
)

// Ref names an artifact: Manifest.ID. It is unique on a node.
type Ref string

// Manifest says what an artifact is and what restoring it takes.
type Manifest struct {
	// Schema is the version of this format; Encode sets it.
	Schema int  `json:"schema"`
	ID     Ref  `json:"id"`
	Kind   Kind `json:"kind"`
	// Parent is the artifact that the source was made from; "" for a root.
	Parent Ref `json:"parent,omitempty"`
	// Source is the sandbox or build that it was taken of: the id of the
	// machine that the driver files it under.
	Source    string    `json:"source"`
	CreatedAt time.Time `json:"created_at"`
	Stamp     Stamp     `json:"stamp"`
	// Files are all files of the artifact, sorted by name.
	Files []File `json:"files"`
	// SpecDigest is the hexadecimal SHA-256 of the spec that the source's
	// machine was made with; "" where it is not compared.
	SpecDigest string `json:"spec_digest,omitempty"`
	// Reason is why it was made: one of ReasonStopped, ReasonIdle and
	// ReasonExited for a continuation, one short line or "" for others.
	Reason string `json:"reason,omitempty"`
}

// File is one file of an artifact.
type File struct {
	Name   string `json:"name"` // without a directory
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // 64 lower-case hexadecimal digits
}

// The bounds of a manifest. They are far above what any driver makes.
const (
	MaxFiles    = 1024
	maxName     = 255
	maxText     = 256 // Stamp fields, Reason.
	maxFlags    = 256
	maxFeatures = 1024
)

// Validate says what is wrong with m, as ErrMalformed.
func (m Manifest) Validate() error {
	if err := cmp.Or(m.validateNames(), m.validateFiles(), validateStamp(m.Stamp)); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

func (m Manifest) validateNames() error {
	if err := vm.ValidateSnapshotID(string(m.ID)); err != nil {
		return fmt.Errorf("id: %w", err)
	}
	if !m.Kind.Valid() {
		return fmt.Errorf("kind %.40q is unknown", m.Kind)
	}
	if m.Parent != "" {
		if err := vm.ValidateSnapshotID(string(m.Parent)); err != nil {
			return fmt.Errorf("parent: %w", err)
		}
	}
	if err := vm.ValidateID(m.Source); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if y := m.CreatedAt.UTC().Year(); y < 2000 || y > 9999 {
		return fmt.Errorf("invalid creation time %v", m.CreatedAt)
	}
	if m.SpecDigest != "" && !isDigest(m.SpecDigest) {
		return fmt.Errorf("spec digest %.80q is not a SHA-256 digest", m.SpecDigest)
	}
	if m.Kind == KindContinuation && !slices.Contains([]string{ReasonStopped, ReasonIdle, ReasonExited}, m.Reason) {
		return fmt.Errorf("reason %.40q of a continuation is not stopped, idle or exited", m.Reason)
	}
	return line("reason", m.Reason)
}

func (m Manifest) validateFiles() error {
	if len(m.Files) == 0 || len(m.Files) > MaxFiles {
		return fmt.Errorf("%d files, not 1 to %d", len(m.Files), MaxFiles)
	}
	names := map[string]bool{}
	for _, f := range m.Files {
		switch {
		case f.Name == "" || f.Name == "." || f.Name == "..", len(f.Name) > maxName,
			strings.ContainsAny(f.Name, `/\`), !printable(f.Name):
			return fmt.Errorf("file name %.80q", f.Name)
		case names[f.Name]:
			return fmt.Errorf("file %q is listed twice", f.Name)
		case f.Bytes < 0:
			return fmt.Errorf("file %q has %d bytes", f.Name, f.Bytes)
		case !isDigest(f.SHA256):
			return fmt.Errorf("file %q has digest %.80q, which is not SHA-256", f.Name, f.SHA256)
		}
		names[f.Name] = true
	}
	return nil
}

// line accepts one short line of text.
func line(what, s string) error {
	if len(s) > maxText || !printable(s) {
		return fmt.Errorf("%s %.80q is not one short line", what, s)
	}
	return nil
}

func isDigest(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// ErrMalformed is a manifest that no version of this program wrote, or that was
// damaged.
var ErrMalformed = errors.New("malformed snapshot manifest")
