//go:build linux

// Package artifact puts a template into an OCI artifact, and takes it out of one that anybody may have made: digests are
// verified before anything is used, and all sizes have bounds. It knows files and no snapshots. It may import image/oci,
// go-containerregistry's types, klauspost/compress and the standard library; node/move imports it.
package artifact

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/rundlet/rundlet/image/oci"
)

// The types of a template, its configuration and its blobs.
const (
	Type       = "application/vnd.rundlet.template.v1"
	ConfigType = types.MediaType("application/vnd.rundlet.template.config.v1+json")
	ChunkType  = types.MediaType("application/vnd.rundlet.template.chunk.v1+zstd")
)

// Format is the version of the configuration. A program refuses a higher one.
//
//	1  the first
const Format = 1

// Bounds of an artifact that is read.
const (
	// ChunkBytes is how much of a file a blob has at most.
	ChunkBytes = 16 << 20
	// MaxBytes bounds all files together.
	MaxBytes  = 1 << 40
	maxFiles  = 64
	maxChunks = 1 << 16
	// maxBlob is more than zstd makes of a chunk that cannot be compressed.
	maxBlob = ChunkBytes + ChunkBytes/128 + 1<<10
)

// The roles of files.
const (
	Saved  = "snapshot" // memory and state
	Root   = "root"     // the root file system
	Engine = "engine"   // the program that restores it
)

// Config describes a template.
type Config struct {
	Format    int       `json:"format"`
	Name      string    `json:"name"`
	BuildID   string    `json:"build_id"`
	CreatedAt time.Time `json:"created_at"`
	// The size of its sandboxes, and how commands run in them.
	VCPUs     int               `json:"vcpus"`
	MemoryMiB int               `json:"memory_mib"`
	DiskMiB   int               `json:"disk_mib"`
	User      string            `json:"user,omitempty"`
	Workdir   string            `json:"workdir,omitempty"`
	Env       map[string]string `json:"env,omitempty"`
	// Repository is the git repository that its sandboxes are kept up to date with; nil is none.
	Repository *Repository `json:"repository,omitempty"`
	// Snapshot is the driver's description, for the same driver on another host, and Token the one by which the agent in it is controlled first.
	Driver   string          `json:"driver"`
	Snapshot json.RawMessage `json:"snapshot"`
	Token    string          `json:"token"`
	Files    []File          `json:"files"`
}

// Repository is a sandbox.Repository.
type Repository struct {
	URL      string `json:"url"`
	Branch   string `json:"branch,omitempty"`
	Commit   string `json:"commit,omitempty"`
	Checkout string `json:"checkout"`
	User     string `json:"user,omitempty"`
}

// File is one of a template's files.
type File struct {
	Role   string  `json:"role"`
	Name   string  `json:"name"`
	Bytes  int64   `json:"bytes"`
	SHA256 string  `json:"sha256"`
	Chunks []Chunk `json:"chunks"`
}

// Chunk is a part of a file, in order. One without a blob is of zeros.
type Chunk struct {
	Blob  string `json:"blob,omitempty"`
	Bytes int64  `json:"bytes"`
}

// Bytes is how many all files have.
func (c Config) Bytes() (n int64) {
	for _, f := range c.Files {
		n += f.Bytes
	}
	return n
}

// Of returns the files with a role.
func (c Config) Of(role string) (files []File) {
	for _, f := range c.Files {
		if f.Role == role {
			files = append(files, f)
		}
	}
	return files
}

// Artifact is a template that is somewhere else.
type Artifact struct {
	Digest v1.Hash
	Config Config
	blobs  oci.Blobs
	sizes  map[string]int64 // of the blobs, by their digests
}

// ErrNotATemplate says that an artifact is of another kind, such as an image.
var ErrNotATemplate = errors.New("it is not a template of rundlet")

// Read reads the manifest and the configuration of an artifact, and no other blob.
func Read(ctx context.Context, blobs oci.Blobs, d v1.Descriptor) (*Artifact, error) {
	data, err := oci.Read(ctx, blobs, d, oci.MaxManifest)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	m, err := v1.ParseManifest(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if m.ArtifactType != Type || m.Config.MediaType != ConfigType {
		return nil, fmt.Errorf("%w: its types are %.100q and %.100q", ErrNotATemplate, m.ArtifactType, m.Config.MediaType)
	}
	a := &Artifact{Digest: d.Digest, blobs: blobs, sizes: map[string]int64{}}
	for _, l := range m.Layers {
		if l.MediaType != ChunkType || l.Size <= 0 || l.Size > maxBlob {
			return nil, fmt.Errorf("blob %.100q has the type %.100q and %d bytes", l.Digest, l.MediaType, l.Size)
		}
		a.sizes[l.Digest.String()] = l.Size
	}
	config, err := oci.Read(ctx, blobs, m.Config, oci.MaxConfig)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	a.Config, err = parse(config)
	if err == nil {
		err = a.check()
	}
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return a, nil
}

func parse(data []byte) (c Config, err error) {
	var version struct{ Format int }
	if err := json.Unmarshal(data, &version); err != nil {
		return c, err
	}
	if version.Format != Format {
		return c, fmt.Errorf("its format must be %d, got %d: use the version of rundlet that made it", Format, version.Format)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return c, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return c, errors.New("there is something behind its end")
	}
	return c, nil
}

var (
	fileName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,199}$`)
	hexSum   = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// check checks all that decides about the disk and about paths.
func (a *Artifact) check() error {
	if n := len(a.Config.Files); n == 0 || n > maxFiles {
		return fmt.Errorf("it must have 1 to %d files, got %d", maxFiles, n)
	}
	names, total, chunks := map[string]bool{}, int64(0), 0
	for _, f := range a.Config.Files {
		if !fileName.MatchString(f.Name) || strings.HasSuffix(f.Name, journalSuffix) || names[f.Name] || !hexSum.MatchString(f.SHA256) || f.Role != Saved && f.Role != Root && f.Role != Engine {
			return fmt.Errorf("file %.100q of kind %.40q cannot be used", f.Name, f.Role)
		}
		names[f.Name] = true
		if chunks += len(f.Chunks); chunks > maxChunks {
			return fmt.Errorf("it must not have more than %d parts", maxChunks)
		}
		sum := int64(0)
		for i, c := range f.Chunks {
			if c.Bytes <= 0 || c.Bytes > ChunkBytes || i < len(f.Chunks)-1 && c.Bytes != ChunkBytes {
				return fmt.Errorf("file %s has a part of %d bytes", f.Name, c.Bytes)
			}
			if sum += c.Bytes; c.Blob != "" && a.sizes[c.Blob] == 0 {
				return fmt.Errorf("file %s has a part %.100q that the manifest does not have", f.Name, c.Blob)
			}
		}
		if total += sum; sum != f.Bytes || total > MaxBytes {
			return fmt.Errorf("file %s has %d bytes, and its parts %d", f.Name, f.Bytes, sum)
		}
	}
	if len(a.Config.Of(Saved)) == 0 || len(a.Config.Of(Root)) != 1 || len(a.Config.Of(Engine)) > 1 {
		return errors.New("it must have a snapshot, one root, and one engine at most")
	}
	return nil
}
