//go:build linux

package layers

import (
	"strings"
	"testing"

	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/image/oci"
	. "github.com/rundlet/rundlet/image/oci/ocitest"
)

// FuzzLayer applies any bytes as a layer over a small tree: what comes out is a tree.
func FuzzLayer(f *testing.F) {
	for _, files := range [][]File{{Regular("a", "x"), HardLink("b", "a")}, {Symlink("l", "/.."), Regular("l/.wh.d", "")}, {Regular("d/.wh..wh..opq", "")}} {
		data, err := Layer(files...)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		base := plain(t, Regular("d/f", "content"), Symlink("l", "d"))
		tr, _, err := merge(t, Limits{Bytes: 1 << 20, Entries: 1000}, base, oci.Layer{DiffID: digest(data), Open: opener(data)})
		if err != nil {
			return
		}
		if _, err := erofs.Make(t.Context(), tr, t.TempDir(), erofs.Options{ForGuest: true}); err != nil {
			t.Error(err)
		}
	})
}

// FuzzWhiteouts applies a whiteout of any name: only that name goes.
func FuzzWhiteouts(f *testing.F) {
	f.Add("d/f")
	f.Add("l/f")
	f.Fuzz(func(t *testing.T, name string) {
		data, err := Layer(Regular(name, ""))
		if err != nil {
			return
		}
		base := plain(t, Regular("d/f", "content"), Symlink("l", "d"), Regular("kept", "x"))
		tr, _, err := merge(t, Limits{}, base, oci.Layer{DiffID: digest(data), Open: opener(data)})
		if err != nil {
			return
		}
		hides := strings.Contains(name, whiteout+"kept") || strings.Contains(name, opaque)
		if _, err := tr.Lookup("kept"); err != nil && !hides {
			t.Errorf("%q hides another file", name)
		}
	})
}
