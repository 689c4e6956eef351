//go:build linux

package copies

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
)

const pageSize = 4096

// Mapping is where a process has the guest's memory.
type Mapping struct{ begin, end uint64 }

// Begin is its first address.
func (m Mapping) Begin() int64 { return int64(m.begin) }

// FindMemory finds the mapping of a file, by its inode, in a process.
func FindMemory(pid int, inode uint64, size int64) (Mapping, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return Mapping{}, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 || fields[4] != fmt.Sprint(inode) {
			continue
		}
		var m Mapping
		if _, err := fmt.Sscanf(fields[0], "%x-%x", &m.begin, &m.end); err != nil {
			return Mapping{}, err
		}
		if int64(m.end-m.begin) == size {
			return m, nil
		}
	}
	if err := lines.Err(); err != nil {
		return Mapping{}, err
	}
	return Mapping{}, fmt.Errorf("process %d has not mapped the memory of the guest", pid)
}

// The bits of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst): the guest has written to a page that is
// there, or in swap, and not of a file.
const (
	pagePresent = 1 << 63
	pageSwapped = 1 << 62
	pageOfFile  = 1 << 61
)

// Written writes the pages that a process has written to its private mapping of a file over a copy of that file.
func Written(pid int, m Mapping, out *os.File) error {
	pages, err := os.Open(fmt.Sprintf("/proc/%d/pagemap", pid))
	if err != nil {
		return err
	}
	defer pages.Close()
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return err
	}
	defer memory.Close()
	const most = 256 // pages at a time
	entries, buf := make([]byte, 8*most), make([]byte, pageSize*most)
	for at := m.begin; at < m.end; {
		n := min(most, (m.end-at)/pageSize)
		if _, err := pages.ReadAt(entries[:8*n], int64(at/pageSize*8)); err != nil {
			return fmt.Errorf("read which pages were written: %w", err)
		}
		written := func(i uint64) bool {
			e := binary.NativeEndian.Uint64(entries[8*i:])
			return e&(pagePresent|pageSwapped) != 0 && e&pageOfFile == 0
		}
		for i := uint64(0); i < n; {
			if !written(i) {
				i++
				continue
			}
			end := i + 1
			for end < n && written(end) {
				end++
			}
			part := buf[:(end-i)*pageSize]
			begin := at + i*pageSize
			if _, err := memory.ReadAt(part, int64(begin)); err != nil {
				return fmt.Errorf("read the memory of the guest: %w", err)
			}
			if _, err := out.WriteAt(part, int64(begin-m.begin)); err != nil {
				return err
			}
			i = end
		}
		at += n * pageSize
	}
	return nil
}
