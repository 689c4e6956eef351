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
	"testing/iotest"
)

func TestDigestIsThatOfTheWholeStream(t *testing.T) {
	// The test vectors of FIPS 180 and RFC 3720.
	for text, want := range map[string]Sum{
		"":                         {0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", 0},
		"abc":                      {3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", 0x364b3fb7},
		strings.Repeat("\x00", 32): {32, "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925", 0x8a9136aa},
	} {
		for _, r := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text))} {
			if sum, err := Digest(r); sum != want || err != nil {
				t.Errorf("%q: got %+v, %v", text, sum, err)
			}
		}
	}
	million := "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
	if sum, err := Digest(strings.NewReader(strings.Repeat("a", 1e6))); sum.SHA256 != million || sum.Bytes != 1e6 || err != nil {
		t.Errorf("got %+v, %v", sum, err)
	}
	if sum, err := Digest(iotest.ErrReader(fs.ErrPermission)); sum.SHA256 != "" || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %+v, %v", sum, err)
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
		if sum, err := Digest(g); sum.Bytes != size || err != nil {
			t.Fatal(sum, err)
		}
		runtime.ReadMemStats(&after)
		allocated := after.TotalAlloc - before.TotalAlloc
		if g.largest > digestBuffer || allocated > 2*digestBuffer {
			t.Errorf("%d bytes: read %d at once, allocated %d", size, g.largest, allocated)
		}
	}
}

func TestASumHoldsForItsContentOnly(t *testing.T) {
	data := make([]byte, 300<<10)
	sum, err := Digest(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	holds := func(data []byte) bool {
		t.Helper()
		ok, err := sum.Holds(bytes.NewReader(data))
		if err != nil {
			t.Error(err)
		}
		return ok
	}
	if !holds(data) {
		t.Error("it does not hold for what it is of")
	}
	if holds(data[1:]) || holds(append(data[:len(data):len(data)], 0)) {
		t.Error("it holds for another length")
	}
	for range 100 {
		at, bit := rand.IntN(len(data)), byte(1)<<rand.IntN(8)
		data[at] ^= bit
		if holds(data) {
			t.Errorf("it holds with a bit flipped at %d", at)
		}
		data[at] ^= bit
	}
	// A file that grew is not read to its end.
	endless := io.MultiReader(bytes.NewReader(data), strings.NewReader("x"), iotest.ErrReader(errors.New("read too far")))
	if ok, err := sum.Holds(endless); ok || err != nil {
		t.Errorf("endless: %v, %v", ok, err)
	}
	if ok, err := sum.Holds(iotest.ErrReader(fs.ErrPermission)); ok || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("unreadable: %v, %v", ok, err)
	}
}

func TestVerifySaysWhichFileIsDamagedAndHow(t *testing.T) {
	sumOf := func(text string) Sum {
		sum, err := Digest(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	var list []File
	for _, f := range [][2]string{{"a.img", "hello"}, {"b.img", "world"}, {"c.img", ""}} {
		sum := sumOf(f[1])
		list = append(list, File{f[0], sum.Bytes, sum.SHA256})
	}
	for name, tc := range map[string]struct {
		damage    func(map[string]Sum)
		file, how string // "" is intact
	}{
		"intact":        {func(map[string]Sum) {}, "", ""},
		"another file":  {func(d map[string]Sum) { d["x"] = sumOf("x") }, "", ""},
		"missing":       {func(d map[string]Sum) { delete(d, "b.img") }, "b.img", "is missing"},
		"cut off":       {func(d map[string]Sum) { d["b.img"] = sumOf("orld") }, "b.img", "has 4 bytes, not 5"},
		"too long":      {func(d map[string]Sum) { d["c.img"] = sumOf("x") }, "c.img", "has 1 bytes, not 0"},
		"one bit":       {func(d map[string]Sum) { d["b.img"] = sumOf("vorld") }, "b.img", "has the digest"},
		"the first two": {func(d map[string]Sum) { delete(d, "b.img"); d["a.img"] = sumOf("jello") }, "a.img", "digest"},
	} {
		t.Run(name, func(t *testing.T) {
			got := map[string]Sum{"a.img": sumOf("hello"), "b.img": sumOf("world"), "c.img": sumOf("")}
			tc.damage(got)
			err := Verify(list, got)
			var damaged *DamagedError
			switch {
			case tc.file == "":
				if err != nil {
					t.Error(err)
				}
			case !errors.As(err, &damaged) || damaged.File != tc.file || !strings.Contains(err.Error(), tc.how):
				t.Errorf("got %v, want %s %s", err, tc.file, tc.how)
			}
		})
	}
}

func BenchmarkDigest(b *testing.B) {
	data := make([]byte, 64<<20)
	src := rand.NewPCG(1, 2)
	for i := range data {
		data[i] = byte(src.Uint64())
	}
	b.Run("sha256", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Digest(bytes.NewReader(data)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("crc32c", func(b *testing.B) {
		sum, _ := Digest(bytes.NewReader(data))
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if ok, err := sum.Holds(bytes.NewReader(data)); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
}
