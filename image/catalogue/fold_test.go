//go:build linux

package catalogue

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/image/oci/layers"
	"github.com/rundlet/rundlet/image/oci/ocitest"
)

// writes is what a machine wrote, in a layer.
func writes(t testing.TB, files ...ocitest.File) func(context.Context, io.Writer) error {
	t.Helper()
	data, err := ocitest.Layer(append([]ocitest.File{ocitest.Dir("./")}, files...)...)
	if err != nil {
		t.Fatal(err)
	}
	return func(_ context.Context, w io.Writer) error {
		for len(data) > 0 { // In pieces of an odd size, as a pipe has them.
			n := min(len(data), 1001)
			if _, err := w.Write(data[:n]); err != nil {
				return err
			}
			data = data[n:]
		}
		return nil
	}
}

func noTimes(context.Context, io.Writer) error { return nil }

// rootOf loads an image and returns the path of its file.
func rootOf(t testing.TB, c *Catalogue) string {
	t.Helper()
	entry, err := c.Load(t.Context(), archiveOf(t, imageOf(t, "content"), "app"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(c.cfg.Dir, entry.File)
}

const much = 1 << 30 // More than any root of these tests.

func TestALayerIsFoldedIntoItsRoot(t *testing.T) {
	cfg := newConfig(t)
	c := open(t, cfg)
	root := rootOf(t, c)
	content := strings.Repeat("data", 3000) + strings.Repeat("\x00", 100_000) + "end"
	folded, release, err := c.Fold(t.Context(), root, much, writes(t, ocitest.Dir("./new/"), ocitest.Regular("./new/file", content)), noTimes)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(folded)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found, before := "", false
	if err := erofs.Walk(f, func(path string, file erofs.File, at int64) error {
		if before = before || path == ".rundlet/agent"; path == "new/file" {
			data, err := io.ReadAll(io.NewSectionReader(f, at, file.Size))
			found = string(data)
			return err
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if found != content || !before {
		t.Errorf("the file has %d bytes, want %d; the agent is there: %v", len(found), len(content), before)
	}
	// The same content is the same file.
	again, second, err := c.Fold(t.Context(), root, much, writes(t, ocitest.Dir("./new/"), ocitest.Regular("./new/file", content)), noTimes)
	if err != nil || again != folded {
		t.Errorf("once more it is %s, %v", again, err)
	}
	second()
	if _, err := c.Prune(keeping(root)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(folded); err != nil {
		t.Errorf("an image that is held is removed: %v", err)
	}
	release()
	if _, err := c.Prune(keeping(root, folded)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(folded); err != nil {
		t.Errorf("an image that a row names is removed: %v", err)
	}
	if err := c.PruneFolded(keeping(folded)); err != nil {
		t.Error(err)
	}
	// It is a root that can be folded into, too.
	third, release, err := c.Fold(t.Context(), folded, much, writes(t, ocitest.File{Header: whiteoutOf("./new")}), noTimes)
	if err != nil || third == folded {
		t.Fatalf("%s, %v", third, err)
	}
	release()
	if err := c.PruneFolded(keeping()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(root); err != nil {
		t.Errorf("another image is removed: %v", err)
	}
	if _, err := os.Stat(folded); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an image that nothing needs is there: %v", err)
	}
	tidy(t, cfg)
}

func TestAFoldThatFailsLeavesNothing(t *testing.T) {
	gone := errors.New("the machine is gone")
	half := func(ctx context.Context, w io.Writer) error {
		_, err := w.Write(make([]byte, 5000))
		return errors.Join(err, gone)
	}
	fine := func(t *testing.T) func(context.Context, io.Writer) error {
		return writes(t, ocitest.Regular("./f", strings.Repeat("x", 8*every)))
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx          context.Context
		bytes        int64
		root         string
		layer, times func(context.Context, io.Writer) error
		change       func(*Config)
		want         error
	}{
		"the machine ends":         {layer: half, want: gone},
		"it ends before the times": {times: half, want: gone},
		"no archive": {layer: func(_ context.Context, w io.Writer) error {
			_, err := w.Write([]byte(strings.Repeat("x", 2000)))
			return err
		}},
		"no times":                    {times: func(_ context.Context, w io.Writer) error { _, err := w.Write([]byte("x")); return err }},
		"the build ends":              {ctx: ended, want: context.Canceled},
		"a root of something else":    {root: os.Args[0]},
		"a root that is gone":         {root: "/none"},
		"a root much larger":          {bytes: 1, want: ErrNotWorthIt},
		"the disk is full":            {change: func(c *Config) { c.Room = func() (int64, error) { return 0, nil } }, want: ErrFull},
		"no room for the layer":       {change: func(c *Config) { c.Room = func() (int64, error) { return 4 * every, nil } }, want: ErrFull},
		"images may not have as much": {change: func(c *Config) { c.MaxBytes = 1 }, want: ErrFull},
		"the layer is too large":      {change: func(c *Config) { c.Limits.Bytes = every }, want: layers.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := newConfig(t)
			root := rootOf(t, open(t, cfg))
			if c.root != "" {
				root = c.root
			}
			if c.change != nil {
				c.change(&cfg)
			}
			layer, times, ctx, bytes := c.layer, c.times, c.ctx, c.bytes
			if layer == nil {
				layer = fine(t)
			}
			if times == nil {
				times = noTimes
			}
			if ctx == nil {
				ctx = t.Context()
			}
			if bytes == 0 {
				bytes = much
			}
			cat := open(t, cfg)
			if _, _, err := cat.Fold(ctx, root, bytes, layer, times); err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if list, err := cat.List(); err != nil || len(list) != 1 {
				t.Errorf("left are %v, %v", list, err)
			}
			tidy(t, cfg)
		})
	}
}

// Over an empty /tmp gVisor mounts a tmpfs: a step that empties it must not change that.
func TestAnEmptyTmpStaysInTheRoot(t *testing.T) {
	c := open(t, newConfig(t))
	folded, release, err := c.Fold(t.Context(), rootOf(t, c), much, writes(t, ocitest.Dir("./tmp/"), ocitest.File{Header: whiteoutOf("./tmp/.keep")}), noTimes)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	f, err := os.Open(folded)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	kept := 0
	if err := erofs.Walk(f, func(path string, _ erofs.File, _ int64) error {
		if strings.HasPrefix(path, "tmp/") {
			kept++
		}
		return nil
	}); err != nil || kept != 1 {
		t.Errorf("%d files are in /tmp, %v", kept, err)
	}
}

// A guest can make a file of any size that takes nothing. A layer with one takes as little here.
func TestALayerOfHolesTakesNoRoom(t *testing.T) {
	f, err := layers.Unnamed(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := &sparse{f: f, limits: layers.Limits{Bytes: 100_000}.Complete()}
	zeros := make([]byte, 1<<20)
	for range 200 {
		if _, err := s.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	_, err = s.Write([]byte("end"))
	if err = errors.Join(err, s.end()); err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil || info.Size() != 200<<20+3 {
		t.Errorf("%v, %v", info.Size(), err)
	}
	got := make([]byte, 6)
	if _, err := f.ReadAt(got, 200<<20-3); err != nil || string(got) != "\x00\x00\x00end" {
		t.Errorf("it ends with %q, %v", got, err)
	}
	s.bytes = maxSpool
	if _, err = s.Write(make([]byte, 8192)); !errors.Is(err, layers.ErrTooLarge) {
		t.Errorf("more than may be read: %v", err)
	}
}

func whiteoutOf(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeChar} }
