package quiet

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

// chunks is a reader that returns so many bytes of data at a time, and records how many could have been.
type chunks struct {
	data  io.Reader
	sizes []int
	asked []int
}

func (c *chunks) Read(b []byte) (int, error) {
	c.asked = append(c.asked, len(b))
	if len(c.sizes) == 0 {
		return c.data.Read(b[:0:0])
	}
	n, err := io.ReadFull(c.data, b[:min(len(b), c.sizes[0])])
	if c.sizes[0] -= n; c.sizes[0] == 0 {
		c.sizes = c.sizes[1:]
	}
	if len(c.sizes) == 0 && err == nil {
		err = io.EOF // With the last data, as a reader may.
	}
	return n, err
}

func TestCopyHoldsLittleUntilMuchComes(t *testing.T) {
	sizes := []int{1, silent - 1, silent + 1, 10, silent + 2*busy + 5, 7, 3}
	total := 0
	for _, n := range sizes {
		total += n
	}
	data := make([]byte, total)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	from := &chunks{data: bytes.NewReader(data), sizes: slices.Clone(sizes)}
	var to bytes.Buffer
	n, err := Copy(&to, from)
	if err != nil || n != int64(total) || !bytes.Equal(to.Bytes(), data) {
		t.Errorf("%d bytes of %d, %v", n, total, err)
	}
	want := []int{silent, silent, silent, busy, silent, silent, busy, busy, busy, silent, silent}
	if !slices.Equal(from.asked, want) {
		t.Errorf("buffers of %v, want %v", from.asked, want)
	}
}

// failing takes so many bytes and then no more.
type failing struct {
	left int
	err  error
}

func (f *failing) Write(b []byte) (int, error) {
	n := min(len(b), f.left)
	f.left -= n
	if n < len(b) {
		return n, f.err
	}
	return n, nil
}

func TestCopyReturnsErrorsOfBothSides(t *testing.T) {
	broken := errors.New("broken")
	for name, tc := range map[string]struct {
		from io.Reader
		to   *failing
		n    int64
		want error
	}{
		"the writer":              {bytes.NewReader(make([]byte, 100<<10)), &failing{silent + 10, broken}, silent + 10, broken},
		"a writer that is silent": {bytes.NewReader(make([]byte, 10)), &failing{5, nil}, 5, io.ErrShortWrite},
		"the reader":              {io.MultiReader(bytes.NewReader(make([]byte, 10)), &erring{broken}), &failing{1 << 20, nil}, 10, broken},
		"no error":                {bytes.NewReader(nil), &failing{0, broken}, 0, nil},
	} {
		if n, err := Copy(tc.to, tc.from); n != tc.n || !errors.Is(err, tc.want) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
}

type erring struct{ err error }

func (e *erring) Read([]byte) (int, error) { return 0, e.err }
