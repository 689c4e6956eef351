//go:build linux

// Package pages moves the memory of processes to the host's swap, and counts it. It
// knows no machine. It may import golang.org/x/sys and the standard library.
package pages

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// step is how much of a mapping one call of the kernel pages out, so that the end of a
// context is soon noticed.
const step = 64 << 20

// Out moves the private memory and the shared memory of processes to swap, and returns
// how many bytes of it became free. list returns the numbers of the processes; those that
// end meanwhile have nothing to page out. When ctx ends, Out stops where it is.
// errors.ErrUnsupported: by this kernel (since 5.10).
func Out(ctx context.Context, list func() ([]int, error)) (freed int64, err error) {
	before, err := list()
	if err != nil {
		return 0, err
	}
	fds := map[int]int{}
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	for _, pid := range before {
		if fds[pid], err = unix.PidfdOpen(pid, 0); err != nil {
			delete(fds, pid)
			if gone(err) != nil {
				return 0, fmt.Errorf("pidfd of %d: %w", pid, err)
			}
		}
	}
	// A number that is not in the list any more may be another process's.
	after, err := list()
	for _, pid := range after {
		fd, ok := fds[pid]
		if err != nil || !ok {
			continue
		}
		var bytes int64
		bytes, err = out(ctx, pid, fd)
		freed += bytes
	}
	return freed, err
}

// out pages one process out. pidfd is the process with number pid.
func out(ctx context.Context, pid, pidfd int) (freed int64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	before, err := Resident(pid)
	if err != nil {
		return 0, gone(err)
	}
	ranges, err := occupied(pid)
	if err != nil {
		return 0, gone(err)
	}
	for _, r := range ranges {
		if err := pageOut(ctx, pidfd, r); err != nil {
			return 0, fmt.Errorf("page out process %d: %w", pid, err)
		}
	}
	after, err := Resident(pid)
	if err != nil {
		return 0, gone(err)
	}
	return max(0, before-after), nil
}

// gone drops the error of a process that has ended.
func gone(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// span is a range of addresses of a process.
type span struct{ begin, end uintptr }

// pageOut pages out one range.
func pageOut(ctx context.Context, pidfd int, r span) error {
	for r.begin < r.end {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := unix.RemoteIovec{Base: r.begin, Len: int(min(r.end-r.begin, step))}
		_, _, errno := unix.Syscall6(unix.SYS_PROCESS_MADVISE, uintptr(pidfd), uintptr(unsafe.Pointer(&part)), 1, unix.MADV_PAGEOUT, 0, 0)
		switch errno {
		case 0, unix.EINTR, unix.EAGAIN, unix.ENOMEM, unix.EINVAL, unix.EFAULT, unix.ESRCH:
			// The rest are mappings that changed meanwhile, or cannot be paged out.
		case unix.ENOSYS:
			return fmt.Errorf("%w: %w", errors.ErrUnsupported, errno)
		default:
			return errno
		}
		r.begin += uintptr(part.Len)
	}
	return nil
}

// occupied returns the mappings of a process that have memory that can go to swap.
func occupied(pid int) ([]span, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseMaps(f)
}

// parseMaps reads the form of /proc/PID/smaps.
func parseMaps(r io.Reader) (out []span, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20) // A path may be long.
	var now span
	wanted := false
	for lines.Scan() {
		line := lines.Text()
		name, rest, _ := strings.Cut(line, " ")
		if !strings.HasSuffix(name, ":") {
			if now, wanted, err = parseMapping(line); err != nil {
				return nil, err
			}
			continue
		}
		if name == "Rss:" && wanted && kib(rest) > 0 {
			out = append(out, now)
		}
	}
	return out, lines.Err()
}

// parseMapping reads the first line of a mapping, and reports whether its memory can
// go to swap: it is anonymous, or shared memory without a file. Files of a disk are
// cheap to read again for the host and slow for the guest, and the kernel drops them when
// it needs the memory.
func parseMapping(line string) (s span, swappable bool, err error) {
	fields := strings.SplitN(line, " ", 6)
	if len(fields) < 5 {
		return span{}, false, fmt.Errorf("mapping %.100q is not understood", line)
	}
	from, to, _ := strings.Cut(fields[0], "-")
	begin, err := strconv.ParseUint(from, 16, 64)
	if err != nil {
		return span{}, false, fmt.Errorf("mapping %.100q: %w", line, err)
	}
	end, err := strconv.ParseUint(to, 16, 64)
	if err != nil || end < begin {
		return span{}, false, fmt.Errorf("mapping %.100q is not a range", line)
	}
	s = span{uintptr(begin), uintptr(end)}
	perms, inode, path := fields[1], fields[4], ""
	if len(fields) == 6 {
		path = strings.TrimLeft(fields[5], " ")
	}
	switch {
	case strings.HasPrefix(path, "[v"): // The kernel's: [vdso], [vvar], [vsyscall].
		return s, false, nil
	case inode == "0" || strings.HasPrefix(path, "/memfd:"):
		return s, true, nil
	}
	// A copy of a file's pages, such as the data of a program.
	return s, len(perms) == 4 && perms[1] == 'w' && perms[3] == 'p', nil
}

// Resident returns the anonymous and the shared memory of a process in bytes. Of memory
// that several processes share it is this one's part.
func Resident(pid int) (bytes int64, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	found := false
	for line := range strings.Lines(string(data)) {
		name, rest, _ := strings.Cut(line, " ")
		if name == "Pss_Anon:" || name == "Pss_Shmem:" {
			bytes, found = bytes+kib(rest)<<10, true
		}
	}
	if !found {
		return 0, fmt.Errorf("/proc/%d/smaps_rollup has no Pss_Anon: %w", pid, errors.ErrUnsupported)
	}
	return bytes, nil
}

// Swapped returns how many bytes of the private memory of processes are in swap. Of one
// that has ended that is nothing.
func Swapped(pids []int) (bytes int64) {
	for _, pid := range pids {
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		for line := range strings.Lines(string(data)) {
			if rest, ok := strings.CutPrefix(line, "VmSwap:"); ok {
				bytes += kib(rest) << 10
			}
		}
	}
	return bytes
}

// kib reads a number such as "12 kB"; 0 if it is none.
func kib(text string) int64 {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return 0
	}
	n, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil || n < 0 || n > 1<<50 {
		return 0
	}
	return n
}
