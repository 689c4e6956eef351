package rotate

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rundlet/rundlet/policy/hygiene"
)

// start opens a log of 100 bytes in a new directory.
func start(t *testing.T, generations int, compress bool) (*File, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "daemon.log")
	w, err := Open(path, Options{Rotation: hygiene.Rotation{MaxBytes: 100, Generations: generations, Compress: compress}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w, path
}

// line is the i-th line: 20 bytes.
func line(i int) string { return fmt.Sprintf("this is line %06d\n", i) }

func write(t *testing.T, w io.Writer, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if n, err := io.WriteString(w, line(i)); n != 20 || err != nil {
			t.Fatalf("line %d: %d, %v", i, n, err)
		}
	}
}

func lines(from, to int) (out string) {
	for i := from; i < to; i++ {
		out += line(i)
	}
	return out
}

func read(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// expect checks that the directory holds the files, and nothing else.
func expect(t *testing.T, path string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(want) {
		t.Errorf("there is %v", entries)
	}
	for suffix, text := range want {
		if got := read(t, path+suffix); got != text {
			t.Errorf("%q holds %q, want %q", suffix, got, text)
		}
	}
}

func TestLogRotatesAtItsSizeAndKeepsGenerations(t *testing.T) {
	w, path := start(t, 2, false)
	write(t, w, 0, 5) // 100 bytes: as long as allowed.
	expect(t, path, map[string]string{"": lines(0, 5)})
	write(t, w, 5, 22)
	expect(t, path, map[string]string{"": lines(20, 22), ".1": lines(15, 20), ".2": lines(10, 15)})
	if err := w.Err(); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestLogWithoutGenerationsStartsAgain(t *testing.T) {
	w, path := start(t, 0, true)
	write(t, w, 0, 12)
	expect(t, path, map[string]string{"": lines(10, 12)})
}

func TestLogGoesOnWhereItWas(t *testing.T) {
	w, path := start(t, 1, false)
	write(t, w, 0, 4)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(path, w.opts)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	write(t, again, 4, 6)
	expect(t, path, map[string]string{"": lines(5, 6), ".1": lines(0, 5)})
}

func TestLongLineIsNotSplitOrRefused(t *testing.T) {
	w, path := start(t, 2, false)
	long := strings.Repeat("x", 500) + "\n"
	write(t, w, 0, 1)
	if n, err := io.WriteString(w, long); n != len(long) || err != nil {
		t.Fatal(n, err)
	}
	write(t, w, 1, 2)
	expect(t, path, map[string]string{"": line(1), ".1": long, ".2": line(0)})
}

func TestGenerationsAreCompressed(t *testing.T) {
	w, path := start(t, 2, true)
	write(t, w, 0, 22)
	if err := w.Close(); err != nil { // Waits for the compression.
		t.Fatal(err)
	}
	expect(t, path, map[string]string{"": lines(20, 22), ".1.gz": lines(15, 20), ".2.gz": lines(10, 15)})
	if err := w.Err(); err != nil {
		t.Error(err)
	}
}

func TestCompressionThatFailsKeepsTheLog(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "a.1"), filepath.Join(dir, "a.1.gz")
	if err := os.WriteFile(from, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(to, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := compress(from, to); err == nil {
		t.Error("no error")
	}
	if read(t, from) != "text" {
		t.Error("the log is gone")
	}
	if _, err := os.Lstat(to + ".tmp"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

func TestFailingRotationLosesNoLine(t *testing.T) {
	w, path := start(t, 1, false)
	obstacle := filepath.Join(path+".1", "in the way")
	if err := os.MkdirAll(obstacle, 0o700); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(w, nil)) // It has to live on, too.
	write(t, w, 0, 9)
	log.Info("still here")
	if err := w.Err(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("the failure is hidden: %v", err)
	}
	if got := read(t, path); !strings.HasPrefix(got, lines(0, 9)) || !strings.Contains(got, "still here") {
		t.Errorf("lost a line: %q", got)
	}
	if err := os.RemoveAll(path + ".1"); err != nil {
		t.Fatal(err)
	}
	write(t, w, 9, 12)
	if got := read(t, path+".1"); !strings.HasPrefix(got, lines(0, 9)) || read(t, path) == "" {
		t.Errorf("rotation was not tried again: %q", got)
	}
}

// disk is a file on a disk that can be full.
type disk struct {
	file
	full *bool
}

func (d disk) Write(p []byte) (int, error) {
	if *d.full {
		n, _ := d.file.Write(p[:len(p)/2])
		return n, errors.New("no space left on device")
	}
	return d.file.Write(p)
}

func TestFullDiskLosesNoLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "daemon.log")
	var full, shut bool
	var fallback bytes.Buffer
	open := func(path string) (file, error) {
		if shut {
			return nil, errors.New("no inode left on device")
		}
		f, err := openLog(path)
		return disk{f, &full}, err
	}
	opts := Options{Rotation: hygiene.Rotation{MaxBytes: 100, Generations: 1}, Fallback: &fallback}
	w, err := openWith(path, opts, open)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	write(t, w, 0, 2)
	full = true
	write(t, w, 2, 4)
	if err := w.Err(); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("the failure is hidden: %v", err)
	}
	full = false
	write(t, w, 4, 6)
	expect(t, path, map[string]string{"": lines(0, 2) + lines(4, 6)})
	if fallback.String() != lines(2, 4) {
		t.Errorf("the fallback got %q", &fallback)
	}

	shut = true // The old file is moved away, and no new one can be made.
	write(t, w, 6, 9)
	expect(t, path, map[string]string{".1": lines(0, 2) + lines(4, 9)})
	if err := w.Err(); err == nil {
		t.Error("the failure is hidden")
	}
	shut = false
	write(t, w, 9, 10)
	expect(t, path, map[string]string{".1": lines(0, 2) + lines(4, 9), "": line(9)})
	if err := w.Err(); err != nil {
		t.Error(err)
	}
}

func TestLogWithoutGenerationsNeedsNoNewFile(t *testing.T) {
	opened := 0
	open := func(path string) (file, error) {
		if opened++; opened > 1 {
			return nil, errors.New("no inode left on device")
		}
		return openLog(path)
	}
	path := filepath.Join(t.TempDir(), "daemon.log")
	w, err := openWith(path, Options{Rotation: hygiene.Rotation{MaxBytes: 100}}, open)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	write(t, w, 0, 8)
	expect(t, path, map[string]string{"": lines(5, 8)})
	if err := w.Err(); err != nil {
		t.Error(err)
	}
}

func TestFullDiskWithoutFallbackIsAnError(t *testing.T) {
	full := true
	w, err := openWith(filepath.Join(t.TempDir(), "l"), Options{Rotation: hygiene.DefaultRotation()}, func(path string) (file, error) {
		f, err := openLog(path)
		return disk{f, &full}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if n, err := io.WriteString(w, line(0)); n != 0 || err == nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestConcurrentLinesAreWholeAndThereOnce(t *testing.T) {
	w, path := start(t, 1000, true)
	const writers, each = 8, 100
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() { write(t, w, i*each, (i+1)*each) })
	}
	wg.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		text := read(t, filepath.Join(filepath.Dir(path), e.Name()))
		if len(text) > 100 {
			t.Errorf("%s has %d bytes", e.Name(), len(text))
		}
		got = append(got, strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")...)
	}
	for i := range got {
		got[i] = strings.TrimSuffix(got[i], "\n") + "\n"
	}
	slices.Sort(got)
	if strings.Join(got, "") != lines(0, writers*each) {
		t.Errorf("%d lines, some of them lost, twice or cut", len(got))
	}
	if err := w.Err(); err != nil {
		t.Error(err)
	}
}

func TestOpenAndCloseAreStrict(t *testing.T) {
	w, path := start(t, 1, false)
	if err := errors.Join(w.Close(), w.Close()); err != nil {
		t.Error(err)
	}
	if n, err := w.Write([]byte("x")); n != 0 || !errors.Is(err, fs.ErrClosed) {
		t.Errorf("write after close: %d, %v", n, err)
	}
	if _, err := Open(path, Options{}); err == nil {
		t.Error("opened without a size")
	}
	if _, err := Open(filepath.Join(path, "x"), Options{Rotation: hygiene.DefaultRotation()}); err == nil {
		t.Error("opened below a file")
	}
}
