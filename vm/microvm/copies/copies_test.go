//go:build linux

package copies

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSparse(t *testing.T) {
	dir := t.TempDir()
	from, err := os.Create(filepath.Join(dir, "from"))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	const size = 64 << 20
	if err := from.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 1 << 20, size - 4096} {
		if _, err := from.WriteAt(bytes.Repeat([]byte{byte(at>>12) | 1}, 4096), at); err != nil {
			t.Fatal(err)
		}
	}
	to := filepath.Join(dir, "to")
	if err := Sparse(from, to, size); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(from.Name())
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(to)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v: not those of the file", len(got), err)
	}
	info, err := os.Stat(to)
	if err != nil {
		t.Fatal(err)
	}
	if taken := info.Sys().(*syscall.Stat_t).Blocks * 512; taken > 1<<20 {
		t.Errorf("the copy takes %d bytes", taken)
	}
	if err := Sparse(from, to, size); !os.IsExist(err) {
		t.Errorf("over a file: %v", err)
	}
}

// TestMemoryOfASnapshotIsMerged copies a memory without what is zero, and what was written later over the copy.
func TestMemoryOfASnapshotIsMerged(t *testing.T) {
	dir := t.TempDir()
	const size = 32 << 20
	want := make([]byte, size)
	write := func(f *os.File, at int, value byte, length int) {
		t.Helper()
		part := bytes.Repeat([]byte{value}, length)
		copy(want[at:], part)
		if _, err := f.WriteAt(part, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	create := func(name string) *os.File {
		t.Helper()
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	check := func(path string, most int64) {
		t.Helper()
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes, %v: not those that were written", len(got), err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if taken := info.Sys().(*syscall.Stat_t).Blocks * 512; taken > most {
			t.Errorf("it takes %d bytes", taken)
		}
	}
	full := create("full")
	write(full, 0, 0, size) // A full memory has no holes.
	write(full, 4096, 1, 8192)
	write(full, 5<<20+100, 2, 70_000)
	write(full, size-1, 3, 1)
	merged := filepath.Join(dir, "merged")
	if err := NonZero(full, merged, size); err != nil {
		t.Fatal(err)
	}
	check(merged, 1<<20)
	later := create("later")
	if err := later.Truncate(size); err != nil {
		t.Fatal(err)
	}
	write(later, 8192, 0, 4096) // What has become zero is written, too.
	write(later, 9<<20, 4, 4096)
	write(later, size-4096, 5, 4096)
	if err := Over(later, merged, size); err != nil {
		t.Fatal(err)
	}
	check(merged, 2<<20)
	if err := NonZero(full, merged, size); !os.IsExist(err) {
		t.Errorf("over a file: %v", err)
	}
	if err := NonZero(later, filepath.Join(dir, "longer"), size+4096); err != nil {
		t.Error(err) // What is missing is a hole.
	}
}

// TestWritten writes to a private mapping of a file in this process.
func TestWritten(t *testing.T) {
	dir := t.TempDir()
	const size = 8 << 20
	base := filepath.Join(dir, "base")
	content := bytes.Repeat([]byte{7}, size)
	if err := os.WriteFile(base, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(base, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	memory, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(memory)
	for _, page := range []int{0, 1, 300, size/pageSize - 1} {
		memory[page*pageSize+5] = 9
		content[page*pageSize+5] = 9
	}
	sum := 0
	for i := 100 * pageSize; i < 200*pageSize; i += pageSize { // Read only: these are pages of the file.
		sum += int(memory[i])
	}
	if sum != 700 {
		t.Fatalf("sum %d", sum)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	where, err := FindMemory(os.Getpid(), st.Ino, size)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "to")
	if err := Sparse(f, to, size); err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(to, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := Written(os.Getpid(), where, out); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the copy is not what the process has: %v", err)
	}
	if _, err := FindMemory(os.Getpid(), st.Ino, size/2); err == nil {
		t.Error("a mapping of another size was found")
	}
}

func TestMakeDisk(t *testing.T) {
	if _, err := os.Stat("/usr/sbin/mkfs.ext4"); err != nil {
		t.Skip("needs e2fsprogs")
	}
	path := filepath.Join(t.TempDir(), "disk")
	if err := MakeDisk(path, 64<<20); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	magic := make([]byte, 2)
	if _, err := f.ReadAt(magic, 1024+56); err != nil || magic[0] != 0x53 || magic[1] != 0xef {
		t.Errorf("no ext4: %x, %v", magic, err)
	}
	if err := MakeDisk(path, 64<<20); !os.IsExist(err) {
		t.Errorf("over a file: %v", err)
	}
}
