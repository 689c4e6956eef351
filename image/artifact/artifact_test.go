//go:build linux

package artifact

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/rundlet/rundlet/image/oci"
)

// memory is a place for artifacts.
type memory struct {
	mu       sync.Mutex
	blobs    map[v1.Hash][]byte
	manifest v1.Descriptor
	opened   atomic.Int64
	// fail, if not nil, is asked before each blob of a chunk is read, and put before each blob is stored.
	fail func(n int64) error
	put  func(n int64) error
	puts atomic.Int64
}

// PutBlob ignores its context, as a disk does.
func (m *memory) PutBlob(_ context.Context, d v1.Descriptor, data []byte) error {
	if n := m.puts.Add(1); m.put != nil {
		if err := m.put(n); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs[d.Digest] = bytes.Clone(data)
	return nil
}

func (m *memory) PutManifest(ctx context.Context, d v1.Descriptor, data []byte) error {
	if err := m.PutBlob(ctx, d, data); err != nil {
		return err
	}
	m.manifest = d
	return nil
}

func (m *memory) Open(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	if d.MediaType == ChunkType {
		if n := m.opened.Add(1); m.fail != nil {
			if err := m.fail(n); err != nil {
				return nil, err
			}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.blobs[d.Digest]
	if !ok {
		return nil, os.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// content is five chunks: two of random bytes, one of zeros, one like the first, and a short one.
func content() []byte {
	data := make([]byte, 4*ChunkBytes+1000)
	_, _ = rand.Read(data[:2*ChunkBytes])
	copy(data[3*ChunkBytes:], data[:ChunkBytes])
	_, _ = rand.Read(data[4*ChunkBytes:])
	return data
}

func pushed(t *testing.T, data []byte) *memory {
	t.Helper()
	m := &memory{blobs: map[v1.Hash][]byte{}}
	last := int64(0)
	digest, err := Push(t.Context(), Config{Name: "app", CreatedAt: time.Now(), Snapshot: json.RawMessage(`{}`)}, []Source{
		{Saved, "pages.img", int64(len(data)), bytes.NewReader(data)}, {Root, "root.erofs", 4, strings.NewReader("root")}, {Engine, "e", 0, strings.NewReader("")},
	}, m, func(done int64) { last = done })
	if err != nil || digest != m.manifest.Digest || last != int64(len(data))+4 {
		t.Fatalf("%v, %v, %d bytes", digest, err, last)
	}
	return m
}

func nothing(int64) {}

func room() error { return nil }

func TestWhatIsPushedIsFetched(t *testing.T) {
	data := content()
	m := pushed(t, data)
	if len(m.blobs) != 4+2 { // Three chunks, the root, the configuration and the manifest.
		t.Errorf("%d blobs", len(m.blobs))
	}
	a, err := Read(t.Context(), m, m.manifest)
	if err != nil {
		t.Fatal(err)
	}
	if m.opened.Load() != 0 || a.Config.Bytes() != int64(len(data))+4 || len(a.Config.Of(Engine)) != 1 {
		t.Errorf("%d chunks were read, %d bytes", m.opened.Load(), a.Config.Bytes())
	}
	path := filepath.Join(t.TempDir(), "x")
	var came atomic.Int64
	if err := a.Fetch(t.Context(), a.Config.Of(Saved)[0], path, room, func(n int64) { came.Add(n) }); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) || came.Load() != int64(len(data)) {
		t.Errorf("%d bytes of %d, %v", len(got), len(data), err)
	}
}

func TestAFetchGoesOnWhereItWasBrokenOff(t *testing.T) {
	data := content()
	m := pushed(t, data)
	a, err := Read(t.Context(), m, m.manifest)
	if err != nil {
		t.Fatal(err)
	}
	f, path := a.Config.Of(Saved)[0], filepath.Join(t.TempDir(), "x")
	cut := errors.New("cut")
	m.fail = func(n int64) error {
		if n > 2 {
			return cut
		}
		return nil
	}
	if err := a.Fetch(t.Context(), f, path, room, nothing); !errors.Is(err, cut) {
		t.Fatalf("%v", err)
	}
	m.fail = nil
	m.opened.Store(0)
	if err := a.Fetch(t.Context(), f, path, room, nothing); err != nil {
		t.Fatal(err)
	}
	if n := m.opened.Load(); n != 2 {
		t.Errorf("%d chunks came again or anew, want 2", n)
	}
	// A crash can lose what the list says is there: the digest shows it, and the next try begins anew.
	if err := os.WriteFile(path, make([]byte, len(data)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.Fetch(t.Context(), f, path, room, nothing); !errors.Is(err, oci.ErrDigest) {
		t.Errorf("%v", err)
	}
	if err := a.Fetch(t.Context(), f, path, room, nothing); err != nil {
		t.Error(err)
	}
	// What was used is not there any more.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := a.Fetch(t.Context(), f, path, room, nothing); err != nil {
		t.Error(err)
	}
	full := errors.New("full")
	if err := a.Fetch(t.Context(), f, path+"2", func() error { return full }, nothing); !errors.Is(err, full) {
		t.Errorf("without room: %v", err)
	}
}

// A manifest and a configuration can say anything.
func TestHostileArtifacts(t *testing.T) {
	good := pushed(t, []byte("content"))
	a, err := Read(t.Context(), good, good.manifest)
	if err != nil {
		t.Fatal(err)
	}
	sound := a.Config
	for name, c := range map[string]struct {
		change func(*Config, *v1.Manifest)
		raw    string // instead of the configuration
		want   string
	}{
		"sound":            {want: ""},
		"an image":         {change: func(_ *Config, m *v1.Manifest) { m.ArtifactType = "" }, want: "not a template"},
		"another config":   {change: func(_ *Config, m *v1.Manifest) { m.Config.MediaType = types.OCIConfigJSON }, want: "not a template"},
		"garbage":          {raw: "garbage", want: "invalid character"},
		"unknown field":    {raw: `{"format":1,"x":1}`, want: "unknown field"},
		"newer":            {raw: `{"format":2,"x":1}`, want: "format must be 1, got 2"},
		"two":              {raw: `{"format":1}{}`, want: "invalid character"},
		"no files":         {change: func(c *Config, _ *v1.Manifest) { c.Files = nil }, want: "1 to 64 files"},
		"no root":          {change: func(c *Config, _ *v1.Manifest) { c.Files = c.Files[:1] }, want: "one root"},
		"a path":           {change: func(c *Config, _ *v1.Manifest) { c.Files[0].Name = "../../etc/passwd" }, want: "cannot be used"},
		"the directory":    {change: func(c *Config, _ *v1.Manifest) { c.Files[0].Name = ".." }, want: "cannot be used"},
		"a list of parts":  {change: func(c *Config, _ *v1.Manifest) { c.Files[0].Name = "root.img" + journalSuffix }, want: "cannot be used"},
		"no digest":        {change: func(c *Config, _ *v1.Manifest) { c.Files[1].SHA256 = "" }, want: "cannot be used"},
		"a path of a root": {change: func(c *Config, _ *v1.Manifest) { c.Files[1].SHA256 = "/../../" + strings.Repeat("0", 57) }, want: "cannot be used"},
		"two engines": {change: func(c *Config, _ *v1.Manifest) {
			c.Files = append(c.Files, File{Role: Engine, Name: "e2", SHA256: c.Files[0].SHA256})
		}, want: "one engine at most"},
		"two roots": {change: func(c *Config, _ *v1.Manifest) {
			c.Files = append(c.Files, File{Role: Root, Name: "r2", SHA256: c.Files[0].SHA256})
		}, want: "one root"},
		"a role":          {change: func(c *Config, _ *v1.Manifest) { c.Files[0].Role = "x" }, want: "cannot be used"},
		"twice":           {change: func(c *Config, _ *v1.Manifest) { c.Files = append(c.Files, c.Files[0]) }, want: "cannot be used"},
		"other size":      {change: func(c *Config, _ *v1.Manifest) { c.Files[0].Bytes++ }, want: "its parts"},
		"negative":        {change: func(c *Config, _ *v1.Manifest) { c.Files[0].Chunks[0].Bytes = -1 }, want: "a part of -1 bytes"},
		"large part":      {change: func(c *Config, _ *v1.Manifest) { c.Files[0].Chunks[0].Bytes = ChunkBytes + 1 }, want: "a part of"},
		"short part":      {change: func(c *Config, _ *v1.Manifest) { c.Files[0].Chunks = append(c.Files[0].Chunks, c.Files[0].Chunks[0]) }, want: "a part of"},
		"unknown blob":    {change: func(c *Config, _ *v1.Manifest) { c.Files[0].Chunks[0].Blob = "sha256:" + strings.Repeat("0", 64) }, want: "does not have"},
		"a large blob":    {change: func(_ *Config, m *v1.Manifest) { m.Layers[0].Size = 1 << 40 }, want: "bytes"},
		"a blob of none":  {change: func(_ *Config, m *v1.Manifest) { m.Layers[0].Size = 0 }, want: "bytes"},
		"a terabyte more": {change: func(c *Config, _ *v1.Manifest) { c.Files[0].Bytes, c.Files[0].Chunks = 1<<41, nil }, want: "its parts"},
		"many parts": {change: func(c *Config, _ *v1.Manifest) {
			c.Files[0].Chunks = make([]Chunk, maxChunks+1)
			for i := range c.Files[0].Chunks {
				c.Files[0].Chunks[i].Bytes = 1
			}
		}, want: "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			var config Config
			data := []byte(c.raw)
			text, err := json.Marshal(sound)
			if err == nil {
				err = json.Unmarshal(text, &config) // A deep copy.
			}
			if err != nil {
				t.Fatal(err)
			}
			manifest, err := v1.ParseManifest(bytes.NewReader(good.blobs[good.manifest.Digest]))
			if err != nil {
				t.Fatal(err)
			}
			if c.change != nil {
				c.change(&config, manifest)
			}
			if c.raw == "" {
				if data, err = json.Marshal(config); err != nil {
					t.Fatal(err)
				}
			}
			m := &memory{blobs: map[v1.Hash][]byte{}}
			d := describe(manifest.Config.MediaType, data)
			manifest.Config = d
			text, err = json.Marshal(manifest)
			if err != nil {
				t.Fatal(err)
			}
			top := describe(types.OCIManifestSchema1, text)
			_, _ = m.PutBlob(t.Context(), d, data), m.PutManifest(t.Context(), top, text)
			_, err = Read(t.Context(), m, top)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// A blob can be of another digest, not compressed, or much larger than it says.
func TestHostileBlobs(t *testing.T) {
	data := bytes.Repeat([]byte("content"), 1000)
	enc, err := encoder()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		blob  []byte
		lying bool // under the digest of another one
		want  string
	}{
		"other digest": {blob: enc.EncodeAll([]byte("x"), nil), lying: true, want: "not of its digest"},
		"plain":        {blob: data, want: "magic"},
		"a bomb":       {blob: enc.EncodeAll(make([]byte, 64<<20), nil), want: "decompress"},
		"short":        {blob: enc.EncodeAll([]byte("x"), nil), want: "must have"},
		"other":        {blob: enc.EncodeAll(bytes.Repeat([]byte("CONTENT"), 1000), nil), want: "not of its digest"},
	} {
		t.Run(name, func(t *testing.T) {
			m := pushed(t, data)
			a, err := Read(t.Context(), m, m.manifest)
			if err != nil {
				t.Fatal(err)
			}
			f := a.Config.Of(Saved)[0]
			if c.lying {
				digest, err := v1.NewHash(f.Chunks[0].Blob)
				if err != nil {
					t.Fatal(err)
				}
				m.blobs[digest] = c.blob
			} else {
				d := describe(ChunkType, c.blob)
				m.blobs[d.Digest], a.sizes[d.Digest.String()], f.Chunks[0].Blob = c.blob, d.Size, d.Digest.String()
			}
			path := filepath.Join(t.TempDir(), "x")
			if err := a.Fetch(t.Context(), f, path, room, nothing); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"format":1,"files":[{"role":"root","name":"r","bytes":1,"sha256":"","chunks":[{"bytes":1}]}]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parse(data)
		if err != nil {
			return
		}
		a := &Artifact{Config: c, sizes: map[string]int64{}}
		if a.check() == nil && (c.Bytes() > MaxBytes || c.Bytes() < 0) {
			t.Errorf("%d bytes", c.Bytes())
		}
	})
}

func TestACancelledFetchStopsBeforeItsDigest(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	path := filepath.Join(t.TempDir(), "pages.img")
	f := File{Role: Saved, Name: "pages.img", Bytes: 4 * ChunkBytes, SHA256: "of something else", Chunks: make([]Chunk, 4)}
	for i := range f.Chunks {
		f.Chunks[i].Bytes = ChunkBytes // Of zeros.
	}
	came := int64(0)
	err := new(Artifact).Fetch(ctx, f, path, func() error { return nil }, func(n int64) {
		if came += n; came == f.Bytes {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || errors.Is(err, oci.ErrDigest) {
		t.Errorf("%v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != f.Bytes {
		t.Errorf("what came is lost: %v", err)
	}
}
