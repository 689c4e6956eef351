package snapshot

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Schema is the version of the manifest format that this program writes, and
// the only one that it reads. 1 is the first: the stamp of the driver, and the
// digests of all files.
const Schema = 1

// MaxManifestBytes is the longest manifest that Encode writes and Decode reads.
const MaxManifestBytes = 1 << 20

// ErrSchema is a manifest of another version of the format: intact, but of a
// program that is newer or older than this one.
var ErrSchema = errors.New("unknown snapshot manifest schema")

// Encode writes m as JSON: one form per manifest, its lists sorted, its time in
// UTC. It refuses with ErrMalformed what Decode would refuse.
func Encode(m Manifest) ([]byte, error) {
	m = m.canonical()
	m.Schema = Schema
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("encode manifest of %.80q: %w", m.ID, err)
	}
	data, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode manifest of %s: %w", m.ID, err)
	}
	if len(data) > MaxManifestBytes {
		return nil, fmt.Errorf("encode manifest of %s: %w: %d bytes, more than %d", m.ID, ErrMalformed, len(data), MaxManifestBytes)
	}
	return data, nil
}

// Decode reads what Encode wrote. Anything else is ErrMalformed, or ErrSchema
// if it is a manifest of another version.
//
// An artifact whose manifest cannot be read is not an artifact without one: a
// caller of Plan passes it as a reference, so that it is kept.
func Decode(data []byte) (Manifest, error) {
	if len(data) > MaxManifestBytes {
		return Manifest{}, fmt.Errorf("decode manifest: %w: %d bytes, more than %d", ErrMalformed, len(data), MaxManifestBytes)
	}
	// First the version alone: what a later one adds is not damage.
	var version struct {
		Schema *int `json:"schema"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return Manifest{}, fmt.Errorf("decode manifest: %w: %s", ErrMalformed, brief(err))
	}
	if version.Schema == nil {
		return Manifest{}, fmt.Errorf("decode manifest: %w: it names no schema", ErrMalformed)
	}
	if *version.Schema > Schema {
		return Manifest{}, fmt.Errorf("decode manifest: %w %d: this program reads %d; a newer rundlet wrote it: use the newer program", ErrSchema, *version.Schema, Schema)
	}
	if *version.Schema != Schema {
		return Manifest{}, fmt.Errorf("decode manifest: %w %d: this program reads %d", ErrSchema, *version.Schema, Schema)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var m Manifest
	if err := dec.Decode(&m); err != nil {
		return Manifest{}, fmt.Errorf("decode manifest: %w: %s", ErrMalformed, brief(err))
	}
	if _, err := dec.Token(); err != io.EOF {
		return Manifest{}, fmt.Errorf("decode manifest: %w: data after its end", ErrMalformed)
	}
	if err := m.Validate(); err != nil {
		return Manifest{}, fmt.Errorf("decode manifest: %w", err)
	}
	return m.canonical(), nil
}

// canonical is m with its lists sorted and copied, and its time in UTC.
func (m Manifest) canonical() Manifest {
	m.CreatedAt = m.CreatedAt.Round(0).UTC()
	m.Files = slices.SortedFunc(slices.Values(m.Files), func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	m.Stamp = sortStamp(m.Stamp)
	return m
}

// brief is the text of an error of the JSON parser, which may quote its input,
// as one short line.
func brief(err error) string { return fmt.Sprintf("%.200q", err.Error()) }

// printable reports whether s is UTF-8 without control characters: safe to show
// on one line, and the same after a round trip through JSON.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
