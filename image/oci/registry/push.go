//go:build linux

package registry

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Target is where an artifact is pushed. Its methods may be called at the same time.
type Target struct {
	full string
	auth authn.Authenticator
	ref  name.Reference
	opts []remote.Option
}

// Push returns the target of a reference; mirrors are for pulls only.
func Push(ctx context.Context, reference string, cfg Config) (*Target, error) {
	cfg.complete()
	full, ref, err := parse(reference)
	if err != nil {
		return nil, err
	}
	if _, ok := ref.(name.Digest); ok {
		return nil, fmt.Errorf("push %s: the reference must have a tag, not a digest", full)
	}
	host := ref.Context().RegistryStr()
	auth, err := cfg.Credentials.authenticator(ctx, host, cfg.Idle)
	if err != nil {
		return nil, fmt.Errorf("push %s: %w", full, err)
	}
	return &Target{full, auth, ref, []remote.Option{remote.WithAuth(auth), remote.WithTransport(newTransport(hostname(host), !cfg.PublicOnly, cfg.Idle))}}, nil
}

func (t *Target) options(ctx context.Context) []remote.Option {
	return append([]remote.Option{remote.WithContext(ctx)}, t.opts...)
}

// PutBlob stores a blob, unless the registry has it.
func (t *Target) PutBlob(ctx context.Context, d v1.Descriptor, data []byte) error {
	if err := remote.WriteLayer(t.ref.Context(), static.NewLayer(data, d.MediaType), t.options(ctx)...); err != nil {
		return fmt.Errorf("push %s: %w", t.full, hide(t.auth, err))
	}
	return nil
}

// PutManifest stores the manifest under the reference, when all of its blobs are there.
func (t *Target) PutManifest(ctx context.Context, d v1.Descriptor, data []byte) error {
	if err := remote.Put(t.ref, raw{data, d.MediaType}, t.options(ctx)...); err != nil {
		return fmt.Errorf("push %s: %w", t.full, hide(t.auth, err))
	}
	return nil
}

// raw is a manifest for go-containerregistry.
type raw struct {
	data []byte
	kind types.MediaType
}

func (r raw) RawManifest() ([]byte, error) { return r.data, nil }

func (r raw) MediaType() (types.MediaType, error) { return r.kind, nil }
