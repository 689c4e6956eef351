package snapshot

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"
)

func TestDigestIsThatOfTheWholeStream(t *testing.T) {
	// The test vectors of FIPS 180.
	for text, want := range map[string]string{
		"":    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"abc": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	} {
		for _, r := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text))} {
			if sum, n, err := Digest(r); sum != want || n != int64(len(text)) || err != nil {
				t.Errorf("%q: got %s, %d, %v", text, sum, n, err)
			}
		}
	}
	million := "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
	if sum, n, err := Digest(strings.NewReader(strings.Repeat("a", 1e6))); sum != million || n != 1e6 || err != nil {
		t.Errorf("got %s, %d, %v", sum, n, err)
	}
	if sum, _, err := Digest(iotest.ErrReader(fs.ErrPermission)); sum != "" || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %q, %v", sum, err)
	}
}

// greedy counts the largest buffer that it was asked to fill.
type greedy struct {
	left    int64
	largest int
}

func (g *greedy) Read(p []byte) (int, error) {
	g.largest = max(g.largest, len(p))
	n := int(min(int64(len(p)), g.left))
	g.left -= int64(n)
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func TestDigestStreamsInBoundedMemory(t *testing.T) {
	for _, size := range []int64{1 << 20, 32 << 20} {
		g := &greedy{left: size}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, n, err := Digest(g); n != size || err != nil {
			t.Fatal(n, err)
		}
		runtime.ReadMemStats(&after)
		allocated := after.TotalAlloc - before.TotalAlloc
		if g.largest > digestBuffer || allocated > 2*digestBuffer {
			t.Errorf("%d bytes: read %d at once, allocated %d", size, g.largest, allocated)
		}
	}
}

// files is an artifact: what is on disk, and its entry in a manifest.
func files(t *testing.T) (fstest.MapFS, []File) {
	t.Helper()
	disk := fstest.MapFS{"a.img": {Data: []byte("hello")}, "b.img": {Data: bytes.Repeat([]byte{7}, 300<<10)}, "c.img": {}}
	var out []File
	for _, name := range []string{"a.img", "b.img", "c.img"} {
		sum, n, err := Digest(bytes.NewReader(disk[name].Data))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, File{name, n, sum})
	}
	return disk, out
}

func TestVerifySaysWhichFileIsDamagedAndHow(t *testing.T) {
	for name, tc := range map[string]struct {
		damage func(fstest.MapFS)
		file   string // "" is intact
		how    string
		sizes  bool // the cheap form sees it too
	}{
		"intact":        {func(fstest.MapFS) {}, "", "", false},
		"another file":  {func(d fstest.MapFS) { d["x"] = &fstest.MapFile{} }, "", "", false},
		"missing":       {func(d fstest.MapFS) { delete(d, "b.img") }, "b.img", "is missing", true},
		"cut off":       {func(d fstest.MapFS) { d["b.img"].Data = d["b.img"].Data[1:] }, "b.img", "has 307199 bytes, not 307200", true},
		"empty":         {func(d fstest.MapFS) { d["a.img"].Data = nil }, "a.img", "has 0 bytes, not 5", true},
		"too long":      {func(d fstest.MapFS) { d["c.img"].Data = []byte{0} }, "c.img", "has 1 bytes, not 0", true},
		"one bit":       {func(d fstest.MapFS) { d["b.img"].Data[200<<10] ^= 1 }, "b.img", "has the digest", false},
		"the first two": {func(d fstest.MapFS) { delete(d, "b.img"); d["a.img"].Data = []byte("jello") }, "a.img", "digest", true},
	} {
		t.Run(name, func(t *testing.T) {
			disk, list := files(t)
			tc.damage(disk)
			open := func(name string) (io.ReadCloser, error) { return disk.Open(name) }
			// The same without a size that could be asked for.
			piped := func(name string) (io.ReadCloser, error) {
				f, err := disk.Open(name)
				return struct{ io.ReadCloser }{f}, err
			}
			for _, open := range []func(string) (io.ReadCloser, error){open, piped} {
				err := Verify(list, open)
				var damaged *DamagedError
				switch {
				case tc.file == "" && err != nil:
					t.Error(err)
				case tc.file != "" && (!errors.As(err, &damaged) || damaged.File != tc.file):
					t.Errorf("got %v", err)
				}
			}
			if err := Verify(list, open); tc.how != "" && !strings.Contains(err.Error(), tc.how) {
				t.Errorf("got %v, want %q", err, tc.how)
			}
			err := Manifest{Files: list}.VerifySizes(func(name string) (int64, error) {
				info, err := fs.Stat(disk, name)
				if err != nil {
					return 0, err
				}
				return info.Size(), nil
			})
			var damaged *DamagedError
			if errors.As(err, &damaged) != tc.sizes {
				t.Errorf("sizes: got %v", err)
			}
		})
	}
}

func TestVerifyComparesTheSizeBeforeItReads(t *testing.T) {
	disk, list := files(t)
	list[1].Bytes--
	read := 0
	err := Verify(list[1:], func(name string) (io.ReadCloser, error) {
		f, err := disk.Open(name)
		return counted{f, &read}, err
	})
	var damaged *DamagedError
	if !errors.As(err, &damaged) || read != 0 {
		t.Errorf("got %v after %d reads", err, read)
	}
}

type counted struct {
	fs.File
	reads *int
}

func (c counted) Read(p []byte) (int, error) { *c.reads++; return c.File.Read(p) }

// closed counts closes.
type closed struct {
	io.Reader
	n *int
}

func (c closed) Close() error { *c.n++; return nil }

func TestVerifyOfAFileThatNeverEndsEnds(t *testing.T) {
	n := 0
	endless := iotest.ErrReader(errors.New("read too far"))
	err := Verify([]File{{"a", 3, digestOf}}, func(string) (io.ReadCloser, error) {
		return closed{io.MultiReader(strings.NewReader("abcd"), endless), &n}, nil
	})
	var damaged *DamagedError
	if !errors.As(err, &damaged) || n != 1 {
		t.Errorf("got %v, closed %d times", err, n)
	}
}

func TestReadErrorIsNoProofOfDamage(t *testing.T) {
	n := 0
	broken := func(string) (io.ReadCloser, error) { return closed{iotest.ErrReader(fs.ErrPermission), &n}, nil }
	shut := func(string) (io.ReadCloser, error) { return nil, fs.ErrPermission }
	for _, open := range []func(string) (io.ReadCloser, error){broken, shut} {
		err := Verify([]File{{"a", 3, digestOf}}, open)
		var damaged *DamagedError
		if errors.As(err, &damaged) || !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), " a:") {
			t.Errorf("got %v", err)
		}
	}
	if n != 1 {
		t.Errorf("closed %d times", n)
	}
}

func BenchmarkDigest(b *testing.B) {
	data := make([]byte, 64<<20)
	src := rand.NewPCG(1, 2)
	for i := range data {
		data[i] = byte(src.Uint64())
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Digest(bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
	}
}
