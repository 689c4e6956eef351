//go:build linux

package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/rundlet/rundlet/image/oci"
)

// savedImage is an entry of the manifest.json of "docker save".
type savedImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// saved returns an image of a docker-save archive. Its layers have no digests of blobs, but
// the configuration has those of their content.
func (a *Archive) saved(manifest []byte, name string) (*oci.Image, error) {
	var all []savedImage
	if err := json.Unmarshal(manifest, &all); err != nil {
		return nil, fmt.Errorf("manifest.json: %w", err)
	}
	m, err := one(all, func(m savedImage) []string { return m.RepoTags }, name)
	if err != nil {
		return nil, err
	}
	config, err := a.read(m.Config, oci.MaxConfig)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	sum := sha256.Sum256(config)
	i := &oci.Image{Config: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}, Names: m.RepoTags}
	if named := strings.TrimSuffix(path.Base(m.Config), ".json"); len(named) == hex.EncodedLen(sha256.Size) && named != i.Config.Hex {
		return nil, fmt.Errorf("configuration %s: %w", named, oci.ErrDigest)
	}
	for _, file := range m.Layers {
		i.Layers = append(i.Layers, oci.Layer{Open: func(context.Context) (io.ReadCloser, error) { return a.files.Open(file) }})
	}
	return i, i.Configure(config)
}
