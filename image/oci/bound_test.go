//go:build linux

package oci

import (
	"context"
	"io"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// endless gives as much as is read of it, up to 64 MiB.
type endless struct{ given int64 }

func (e *endless) Open(context.Context, v1.Descriptor) (io.ReadCloser, error) {
	return io.NopCloser(io.LimitReader(e, 64<<20)), nil
}

func (e *endless) Read(b []byte) (int, error) {
	e.given += int64(len(b))
	return len(b), nil
}

// A registry that leaves the size of a configuration out must not decide how much memory it takes.
func TestWhatHasNoSizeIsBounded(t *testing.T) {
	e := &endless{}
	data, err := Read(t.Context(), e, v1.Descriptor{Digest: v1.Hash{Algorithm: "sha256", Hex: "00"}}, 1<<20)
	if err == nil || data != nil || e.given > 2<<20 {
		t.Errorf("%d bytes of %d that were read, %v", len(data), e.given, err)
	}
}
