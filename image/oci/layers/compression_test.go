//go:build linux

package layers

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/rundlet/rundlet/image/oci"
	. "github.com/rundlet/rundlet/image/oci/ocitest"
)

func zipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestCompressionAndDigests(t *testing.T) {
	data, err := Layer(Regular("a", strings.Repeat("content", 10_000)))
	if err != nil {
		t.Fatal(err)
	}
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	z, zs := zipped(t, data), encoder.EncodeAll(data, nil)
	wide, err := zstd.NewWriter(nil, zstd.WithWindowSize(64<<20))
	if err != nil {
		t.Fatal(err)
	}
	other := digest([]byte("other"))
	damaged := slices.Clone(z)
	damaged[len(damaged)/2] ^= 1
	bomb := zipped(t, make([]byte, 2_000_000))
	for name, c := range map[string]struct {
		blob   []byte
		digest v1.Hash
		size   int64
		diffID v1.Hash
		want   error
		text   string
	}{
		"plain":             {blob: data, digest: digest(data), size: int64(len(data))},
		"gzip":              {blob: z, digest: digest(z), size: int64(len(z))},
		"gzip twice":        {blob: slices.Concat(zipped(t, data[:1000]), zipped(t, data[1000:]))},
		"zstd":              {blob: zs, digest: digest(zs), size: int64(len(zs))},
		"no digest":         {blob: z},
		"wrong digest":      {blob: z, digest: other, size: int64(len(z)), want: oci.ErrDigest},
		"wrong diff id":     {blob: z, digest: digest(z), size: int64(len(z)), diffID: other, want: oci.ErrDigest},
		"cut":               {blob: z[:len(z)-10], digest: digest(z), size: int64(len(z)), want: oci.ErrDigest},
		"cut without size":  {blob: z[:len(z)-10], want: io.ErrUnexpectedEOF},
		"longer":            {blob: append(slices.Clone(z), 'x'), digest: digest(z), size: int64(len(z)), want: oci.ErrDigest},
		"damaged":           {blob: damaged, text: ""},
		"empty":             {blob: nil, want: oci.ErrDigest},
		"garbage":           {blob: []byte("not a layer"), want: oci.ErrDigest},
		"bomb":              {blob: bomb, digest: digest(bomb), size: int64(len(bomb)), want: ErrTooLarge},
		"zstd of much room": {blob: wide.EncodeAll(make([]byte, 70<<20), nil), want: zstd.ErrWindowSizeExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			layer := oci.Layer{Digest: c.digest, Size: c.size, DiffID: digest(data), Open: opener(c.blob)}
			if c.diffID.Hex != "" {
				layer.DiffID = c.diffID
			}
			tr, _, err := merge(t, Limits{Bytes: 1_000_000}, layer)
			fails := c.want != nil || name == "damaged"
			if (err != nil) != fails || c.want != nil && !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if err == nil {
				if got, err := tr.ReadFile("a", 1<<20); err != nil || len(got) != 70_000 {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			}
		})
	}
}
