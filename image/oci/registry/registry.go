//go:build linux

// Package registry finds images in registries: by tag or digest, with a name and a password or
// a token of them, and through mirrors. Registries are not trusted: what they send is bounded
// in size and time, and is verified by package oci; they cannot lead requests to the network of
// this host. It may import image/oci, internal/retry, go-containerregistry and the standard
// library; image/catalogue and the callers of it import it.
package registry

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/rundlet/rundlet/image/oci"
	"github.com/rundlet/rundlet/internal/retry"
)

// Config says how registries are reached. The zero value is for public ones.
type Config struct {
	// Credentials are for the registry of the reference; nil is none. Mirrors do not get them.
	Credentials *Credentials
	// Mirrors are tried first: base URLs by the host of the registry, such as docker.io. A path in
	// one comes before the repository; it may have a user and a password.
	Mirrors map[string]string
	// PublicOnly refuses registries at private addresses, but for mirrors: for references that
	// come from clients.
	PublicOnly bool
	// Idle is how long a registry may send nothing; 0 is 30 s.
	Idle time.Duration
	// pauses are those before a download goes on.
	pauses retry.Pauses
}

const (
	defaultIdle = 30 * time.Second
	// dockerHost is the name under which people and mirrors know name.DefaultRegistry.
	dockerHost = "docker.io"
)

// Image returns the image of a reference. Its layers are read when they are opened; ctx is for
// the manifests.
func Image(ctx context.Context, reference string, cfg Config) (image *oci.Image, err error) {
	err = find(ctx, reference, cfg, func(blobs oci.Blobs, d v1.Descriptor) (err error) {
		image, err = oci.Resolve(ctx, blobs, d)
		return err
	})
	return image, err
}

// Open returns the manifest of a reference, whatever it is of, and opens what it names; ctx is for the manifest.
func Open(ctx context.Context, reference string, cfg Config) (blobs oci.Blobs, d v1.Descriptor, err error) {
	err = find(ctx, reference, cfg, func(b oci.Blobs, found v1.Descriptor) error {
		blobs, d = b, found
		return nil
	})
	return blobs, d, err
}

func parse(reference string) (full string, ref name.Reference, err error) {
	if full, err = oci.Normal(reference); err == nil {
		ref, err = name.ParseReference(full)
	}
	return full, ref, err
}

func (cfg *Config) complete() {
	cfg.Idle = cmp.Or(cfg.Idle, defaultIdle)
	cfg.pauses = cmp.Or(cfg.pauses, retry.Pauses{First: 200 * time.Millisecond, Most: 5 * time.Second})
}

// find calls use with the manifest that a mirror, or the registry, has of a reference.
func find(ctx context.Context, reference string, cfg Config, use func(oci.Blobs, v1.Descriptor) error) error {
	cfg.complete()
	full, ref, err := parse(reference)
	if err != nil {
		return err
	}
	host := ref.Context().RegistryStr()
	if host == name.DefaultRegistry {
		host = dockerHost
	}
	var mirrorErr error
	if base := cfg.Mirrors[host]; base != "" {
		err := mirrored(ctx, base, ref, cfg, use)
		if err == nil || ctx.Err() != nil {
			return err
		}
		mirrorErr = fmt.Errorf("mirror of %s: %w", host, err)
	}
	auth, err := cfg.Credentials.authenticator(ctx, host, cfg.Idle)
	if err == nil {
		err = at(ctx, ref, auth, cfg, !cfg.PublicOnly, use)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("pull %s: %w", full, err), mirrorErr)
	}
	return nil
}

// mirrored is find at a mirror.
func mirrored(ctx context.Context, base string, ref name.Reference, cfg Config, use func(oci.Blobs, v1.Descriptor) error) error {
	u, err := parseMirror(base)
	if err != nil {
		return err
	}
	repository, err := name.NewRepository(u.Host + "/" + strings.TrimPrefix(strings.Trim(u.Path, "/")+"/"+ref.Context().RepositoryStr(), "/"))
	if err != nil {
		return err
	}
	auth := authn.Anonymous
	if u.User != nil {
		password, _ := u.User.Password()
		auth = authn.FromConfig(authn.AuthConfig{Username: u.User.Username(), Password: password})
	}
	var there name.Reference = repository.Tag(ref.Identifier())
	if digest, ok := ref.(name.Digest); ok {
		there = repository.Digest(digest.DigestStr())
	}
	return at(ctx, there, auth, cfg, true, use)
}

// repository is one repository of a registry; it implements oci.Blobs.
type repository struct {
	base   url.URL // Up to the repository.
	client *http.Client
	auth   authn.Authenticator
	idle   time.Duration
	pauses retry.Pauses

	mu    sync.Mutex
	known map[v1.Hash][]byte // The manifest that was asked for by its tag.
}

// at is find where the reference says.
func at(ctx context.Context, ref name.Reference, auth authn.Authenticator, cfg Config, private bool, use func(oci.Blobs, v1.Descriptor) error) error {
	reg := ref.Context().Registry
	host := reg.RegistryStr()
	base := newTransport(hostname(host), private, cfg.Idle)
	handshake, cancel := context.WithTimeoutCause(ctx, 2*cfg.Idle, errIdle)
	defer cancel()
	tripper, err := transport.NewWithContext(handshake, reg, auth, base, []string{ref.Context().Scope(transport.PullScope)})
	if err != nil {
		return hide(auth, cause(handshake, err))
	}
	r := &repository{auth: auth, idle: cfg.Idle, pauses: cfg.pauses, known: map[v1.Hash][]byte{}, client: &http.Client{Transport: tripper, CheckRedirect: checkRedirect},
		base: url.URL{Scheme: reg.Scheme(), Host: host, Path: "/v2/" + ref.Context().RepositoryStr()}}
	d, err := r.descriptor(ctx, ref)
	if err != nil {
		return err
	}
	return use(r, d)
}

// accepted are the types of manifests that are read.
var accepted = []string{string(types.OCIManifestSchema1), string(types.OCIImageIndex), string(types.DockerManifestSchema2), string(types.DockerManifestList)}

// descriptor gets the manifest of a reference, and returns its descriptor.
func (r *repository) descriptor(ctx context.Context, ref name.Reference) (v1.Descriptor, error) {
	var d v1.Descriptor
	ctx, cancel := context.WithTimeoutCause(ctx, 2*r.idle, errIdle)
	defer cancel()
	resp, err := r.get(ctx, "manifests/"+ref.Identifier(), 0, 0)
	if err != nil {
		return d, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, oci.MaxManifest+1))
	if err != nil {
		return d, cause(ctx, err)
	}
	if len(data) > oci.MaxManifest {
		return d, fmt.Errorf("the manifest must have at most %d bytes", oci.MaxManifest)
	}
	sum := sha256.Sum256(data)
	d = v1.Descriptor{Size: int64(len(data)), Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}}
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	d.MediaType = types.MediaType(kind)
	if digest, ok := ref.(name.Digest); ok && digest.DigestStr() != d.Digest.String() {
		return d, fmt.Errorf("manifest: %w: it is %v", oci.ErrDigest, d.Digest)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[d.Digest] = data
	return d, nil
}

// Open implements oci.Blobs.
func (r *repository) Open(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	r.mu.Lock()
	data, ok := r.known[d.Digest]
	r.mu.Unlock()
	if ok {
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	path := "blobs/" + d.Digest.String()
	if d.MediaType.IsImage() || d.MediaType.IsIndex() {
		path = "manifests/" + d.Digest.String()
	}
	return newBlob(ctx, r, path, d.Size), nil
}

// get requests something of the repository from a byte on; its size is 0 if it is not known. The
// caller closes the body.
func (r *repository) get(ctx context.Context, path string, from, size int64) (*http.Response, error) {
	u := r.base
	u.Path += "/" + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", blobType)
	if strings.HasPrefix(path, "manifests/") {
		req.Header["Accept"] = accepted
	}
	if from > 0 {
		last := ""
		if size > 0 { // Some registries know no range without an end.
			last = strconv.FormatInt(size-1, 10)
		}
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%s", from, last))
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, hide(r.auth, cause(ctx, err))
	}
	if err := transport.CheckError(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		resp.Body.Close()
		return nil, hide(r.auth, cause(ctx, err))
	}
	return resp, nil
}

// cause is the reason for which a context ended, or err.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
