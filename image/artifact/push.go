//go:build linux

package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
)

// parallel is how many chunks are on their way at a time: each takes twice its size of memory.
const parallel = 4

// Sink stores an artifact. PutBlob may be called at the same time.
type Sink interface {
	PutBlob(ctx context.Context, d v1.Descriptor, data []byte) error
	PutManifest(ctx context.Context, d v1.Descriptor, data []byte) error
}

// Source is a file of a template that is here.
type Source struct {
	Role, Name string
	Bytes      int64
	// Content is read once, to its end.
	Content io.Reader
}

// Push stores a template, its manifest last, and returns the digest of that. progress, which may be nil, receives how many bytes of the
// files are done.
func Push(ctx context.Context, c Config, sources []Source, to Sink, progress func(done int64)) (v1.Hash, error) {
	if progress == nil {
		progress = func(int64) {}
	}
	p := &pusher{to: to, sizes: map[v1.Hash]int64{}, progress: progress}
	c.Format = Format
	for _, s := range sources {
		f, err := p.file(ctx, s)
		if err != nil {
			return v1.Hash{}, fmt.Errorf("%s: %w", s.Name, err)
		}
		c.Files = append(c.Files, f)
	}
	config, err := json.Marshal(c)
	if err != nil {
		return v1.Hash{}, err
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: Type, Config: describe(ConfigType, config), Layers: []v1.Descriptor{},
		Annotations: map[string]string{"org.opencontainers.image.title": c.Name, "org.opencontainers.image.created": c.CreatedAt.UTC().Format("2006-01-02T15:04:05Z")}}
	for digest, size := range p.sizes {
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: ChunkType, Digest: digest, Size: size})
	}
	slices.SortFunc(m.Layers, func(a, b v1.Descriptor) int { return bytes.Compare([]byte(a.Digest.Hex), []byte(b.Digest.Hex)) })
	data, err := json.Marshal(m)
	if err != nil {
		return v1.Hash{}, err
	}
	if err := to.PutBlob(ctx, m.Config, config); err != nil {
		return v1.Hash{}, err
	}
	d := describe(types.OCIManifestSchema1, data)
	d.ArtifactType = Type
	return d.Digest, to.PutManifest(ctx, d, data)
}

func describe(kind types.MediaType, data []byte) v1.Descriptor {
	sum := sha256.Sum256(data)
	return v1.Descriptor{MediaType: kind, Size: int64(len(data)), Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}}
}

// encoder makes the same of the same chunk, so that a registry has it once. It is safe for concurrent use.
var encoder = sync.OnceValues(func() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(parallel))
})

type pusher struct {
	to Sink

	mu       sync.Mutex
	sizes    map[v1.Hash]int64 // of the blobs; guarded by mu
	done     int64             // guarded by mu
	progress func(int64)       // called under mu
}

// file stores the chunks of a file.
func (p *pusher) file(ctx context.Context, s Source) (File, error) {
	sum, n := sha256.New(), int((s.Bytes+ChunkBytes-1)/ChunkBytes)
	f := File{Role: s.Role, Name: s.Name, Bytes: s.Bytes, Chunks: make([]Chunk, n)}
	group, going := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	var err error
	for i := range f.Chunks {
		chunk := make([]byte, min(ChunkBytes, s.Bytes-int64(i)*ChunkBytes))
		if _, err = io.ReadFull(s.Content, chunk); err != nil {
			break
		}
		sum.Write(chunk)
		f.Chunks[i].Bytes = int64(len(chunk))
		group.Go(func() (err error) {
			f.Chunks[i].Blob, err = p.chunk(going, chunk)
			return err
		})
		if going.Err() != nil {
			break
		}
	}
	f.SHA256 = hex.EncodeToString(sum.Sum(nil))
	if err = errors.Join(group.Wait(), err); err == nil {
		err = ctx.Err() // The place may not look at it, and not all chunks are there.
	}
	return f, err
}

var zeros [ChunkBytes]byte

// chunk stores a chunk, and returns the digest of its blob; empty for zeros.
func (p *pusher) chunk(ctx context.Context, data []byte) (string, error) {
	digest := ""
	if !bytes.Equal(data, zeros[:len(data)]) {
		enc, err := encoder()
		if err != nil {
			return "", err
		}
		blob := enc.EncodeAll(data, nil)
		d := describe(ChunkType, blob)
		if err := p.to.PutBlob(ctx, d, blob); err != nil {
			return "", err
		}
		digest = d.Digest.String()
		p.mu.Lock()
		p.sizes[d.Digest] = d.Size
		p.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += int64(len(data))
	p.progress(p.done)
	return digest, nil
}
