//go:build linux

package artifact

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/rundlet/rundlet/image/oci"
)

// journalSuffix is that of the file with the numbers of the chunks that are there.
const journalSuffix = ".parts"

// decoder is safe for concurrent use.
var decoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(parallel), zstd.WithDecoderMaxMemory(ChunkBytes))
})

// Fetch gets a file to a path, and makes it durable. After an error, or a crash, the next Fetch of the same file gets only what is missing: it
// is verified as a whole at the end. room is asked before each chunk; progress receives the bytes that have come.
func (a *Artifact) Fetch(ctx context.Context, f File, path string, room func() error, progress func(n int64)) (err error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) { // It was used already: its list is of no use.
		if err := os.Remove(path + journalSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	out, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := out.Truncate(f.Bytes); err != nil {
		return err
	}
	journal, have, err := openJournal(path + journalSuffix)
	if err != nil {
		return err
	}
	defer journal.Close()
	if err := a.chunks(ctx, f, out, journal, have, room, progress); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, &whileNotEnded{ctx, io.NewSectionReader(out, 0, f.Bytes)}); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != f.SHA256 {
		// What is there is of no use, also for the next try.
		return errors.Join(fmt.Errorf("file %s: %w", f.Name, oci.ErrDigest), os.Remove(path), os.Remove(path+journalSuffix))
	}
	return out.Sync()
}

// whileNotEnded is a Reader that fails when a context ends.
type whileNotEnded struct {
	ctx  context.Context
	from io.Reader
}

func (r *whileNotEnded) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(b)
}

func (a *Artifact) chunks(ctx context.Context, f File, out, journal *os.File, have map[int]bool, room func() error, progress func(n int64)) error {
	var mu sync.Mutex // guards journal
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, c := range f.Chunks {
		if have[i] || c.Blob == "" { // A file begins with zeros.
			progress(c.Bytes)
			continue
		}
		if err := errors.Join(ctx.Err(), room()); err != nil {
			return errors.Join(group.Wait(), err)
		}
		group.Go(func() error {
			data, err := a.chunk(ctx, c)
			if err == nil {
				_, err = out.WriteAt(data, int64(i)*ChunkBytes)
			}
			if err != nil {
				return fmt.Errorf("file %s, part %d: %w", f.Name, i+1, err)
			}
			progress(c.Bytes)
			mu.Lock()
			defer mu.Unlock()
			_, err = fmt.Fprintln(journal, i)
			return err
		})
	}
	return group.Wait()
}

// chunk gets and verifies one chunk.
func (a *Artifact) chunk(ctx context.Context, c Chunk) ([]byte, error) {
	digest, err := v1.NewHash(c.Blob)
	if err != nil {
		return nil, err
	}
	blob, err := oci.Read(ctx, a.blobs, v1.Descriptor{MediaType: ChunkType, Digest: digest, Size: a.sizes[c.Blob]}, maxBlob)
	if err != nil {
		return nil, err
	}
	dec, err := decoder()
	if err != nil {
		return nil, err
	}
	data, err := dec.DecodeAll(blob, make([]byte, 0, c.Bytes))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != c.Bytes {
		return nil, fmt.Errorf("it has %d bytes, and must have %d", len(data), c.Bytes)
	}
	return data, nil
}

// openJournal opens the list of the chunks that are there.
func openJournal(path string) (*os.File, map[int]bool, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, err
	}
	have := map[int]bool{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if n, err := strconv.Atoi(lines.Text()); err == nil {
			have[n] = true // One that is cut is another number, which the digest of the file shows.
		}
	}
	return f, have, nil
}
