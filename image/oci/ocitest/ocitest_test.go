//go:build linux

package ocitest

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func TestAnImageIsValid(t *testing.T) {
	layer, err := Layer(Dir("d"), Regular("d/f", "content"), Program("d/p", "x", 0o4755), Symlink("l", "d"), HardLink("h", "d/f"))
	if err != nil {
		t.Fatal(err)
	}
	image, err := Image(v1.Config{User: "me"}, layer, layer)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 2 {
		t.Fatalf("layers %v, %v", layers, err)
	}
	for _, layer := range layers {
		if err := validate.Layer(layer); err != nil {
			t.Error(err)
		}
	}
	if file, err := image.ConfigFile(); err != nil || file.Config.User != "me" || len(file.RootFS.DiffIDs) != 2 {
		t.Errorf("configuration %+v, %v", file, err)
	}
}
