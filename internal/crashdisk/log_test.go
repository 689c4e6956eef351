package crashdisk

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// newLog records over a base of blocks full of the byte 'b'.
func newLog(t *testing.T, blocks int) *Log {
	t.Helper()
	data, err := os.Create(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { data.Close() })
	size := blocks * blockSize
	return NewLog(bytes.NewReader(bytes.Repeat([]byte("b"), size)), int64(size), data)
}

// write fills whole blocks with a letter.
func write(t *testing.T, d device, block, count int, letter string) {
	t.Helper()
	if _, err := d.WriteAt(bytes.Repeat([]byte(letter), count*blockSize), int64(block*blockSize)); err != nil {
		t.Fatal(err)
	}
}

// letters reads a disk, a letter for each block; "?" for one of mixed content.
func letters(t *testing.T, d device, blocks int) string {
	t.Helper()
	all := make([]byte, blocks*blockSize)
	if n, err := d.ReadAt(all, 0); n != len(all) {
		t.Fatalf("read %d of %d bytes: %v", n, len(all), err)
	}
	var out []byte
	for block := range blocks {
		letter := all[block*blockSize]
		if !bytes.Equal(all[block*blockSize:(block+1)*blockSize], bytes.Repeat([]byte{letter}, blockSize)) {
			letter = '?'
		}
		out = append(out, letter)
	}
	return string(out)
}

func TestAViewHasWhatWasWrittenBeforeTheCut(t *testing.T) {
	l := newLog(t, 6)
	write(t, l, 0, 2, "1")
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	write(t, l, 1, 2, "2")
	write(t, l, 4, 1, "3")
	if got := letters(t, l, 6); got != "122b3b" {
		t.Errorf("the disk reads %s", got)
	}
	for position, want := range []string{"bbbbbb", "11bbbb", "11bbbb", "122bbb", "122b3b"} {
		v, err := l.View(position, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := letters(t, v, 6); got != want {
			t.Errorf("cut at %d: %s, want %s", position, got, want)
		}
	}
}

func TestACutLosesOnlyWhatWasNotFlushed(t *testing.T) {
	seen := map[string]bool{}
	for seed := uint64(1); seed < 200; seed++ {
		l := newLog(t, 4)
		write(t, l, 0, 1, "1")
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		write(t, l, 0, 2, "2")
		write(t, l, 1, 1, "3")
		v, err := l.View(4, seed)
		if err != nil {
			t.Fatal(err)
		}
		seen[letters(t, v, 4)] = true
	}
	// The second write may be torn, and the third lost without the second.
	for _, want := range []string{"1bbb", "2bbb", "12bb", "22bb", "13bb", "23bb"} {
		if !seen[want] {
			t.Errorf("no seed of 200 gives %s", want)
		}
		delete(seen, want)
	}
	if len(seen) > 0 {
		t.Errorf("these cannot be: %v", seen)
	}
}

func TestWhatIsWrittenToAViewIsInNoOther(t *testing.T) {
	l := newLog(t, 3)
	write(t, l, 0, 1, "1")
	first, err := l.View(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	write(t, first, 1, 1, "x")
	if got := letters(t, first, 3); got != "1xb" {
		t.Errorf("the view reads %s", got)
	}
	second, err := l.View(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	write(t, second, 2, 1, "y")
	if got := letters(t, second, 3); got != "1by" {
		t.Errorf("the second view reads %s", got)
	}
	if _, err := first.ReadAt(make([]byte, 1), 0); err == nil {
		t.Error("the first view still reads")
	}
	if _, err := l.WriteAt([]byte{1}, 0); err == nil {
		t.Error("the disk is written to while it is replayed")
	}
}

func TestPartsOfBlocksAreFilledUp(t *testing.T) {
	l := newLog(t, 3)
	if _, err := l.WriteAt(bytes.Repeat([]byte("1"), blockSize), blockSize/2); err != nil {
		t.Fatal(err)
	}
	if got := letters(t, l, 3); got != "??b" {
		t.Errorf("the disk reads %s", got)
	}
	half := make([]byte, 2)
	if _, err := l.ReadAt(half, blockSize/2-1); err != nil || string(half) != "b1" {
		t.Errorf("the edge reads %q, %v", half, err)
	}
	if _, err := l.WriteAt(make([]byte, 2), 3*blockSize-1); err == nil {
		t.Error("a write beyond the end was taken")
	}
}
