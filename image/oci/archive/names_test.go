//go:build linux

package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Processes that push into one directory at the same time keep each other's names.
func TestNoNameIsLostOfThoseWhoWriteAtOnce(t *testing.T) {
	dir := t.TempDir()
	var group sync.WaitGroup
	for i := range 32 {
		group.Go(func() {
			name := fmt.Sprintf("app%d:v1", i)
			out, err := WriteDirectory(dir, name)
			if err != nil {
				t.Error(err)
				return
			}
			data := fmt.Appendf(nil, `{"schemaVersion":2,"artifactType":"x","annotations":{"n":"%d"}}`, i)
			sum := sha256.Sum256(data)
			d := v1.Descriptor{MediaType: "application/vnd.oci.image.manifest.v1+json", Size: int64(len(data)), Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}}
			if err := out.PutManifest(t.Context(), d, data); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, entry := range entries {
		left = append(left, entry.Name())
	}
	if want := []string{"blobs", "index.json", "oci-layout"}; !slices.Equal(left, want) {
		t.Errorf("the layout has %q", left)
	}
	a, err := Open(t.Context(), dir, t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for i := range 32 {
		if _, err := a.Artifact(fmt.Sprintf("app%d:v1", i)); err != nil {
			t.Errorf("app%d: %v", i, err)
		}
	}
}
