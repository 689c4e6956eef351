package gvisor

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// grabWays are the system calls that take as much memory as their length says.
var grabWays = []string{
	"readv", "preadv", "getrandom", "write", "writev", "pwritev", "sendfile", "copy", "fallocate", "lock", "lockall", "populate",
}

// grab asks for four times 100 MiB by calls of one kind, and reports what they
// did.
func grab(way string) {
	const size = 100 << 20
	var buffers [][]byte
	for range 4 {
		b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
		if err != nil {
			fmt.Println(err)
			return
		}
		buffers = append(buffers, b)
	}
	zero, zeroErr := unix.Open("/dev/zero", unix.O_RDONLY, 0)
	sparse, sparseErr := unix.Open("/sparse", unix.O_RDWR|unix.O_CREAT, 0o600)
	memory, memoryErr := unix.MemfdCreate("grab", 0)
	if err := errors.Join(zeroErr, sparseErr, memoryErr, unix.Ftruncate(sparse, 4*size)); err != nil {
		fmt.Println(err)
		return
	}
	n, err := 0, error(nil)
	switch way {
	case "readv":
		n, err = unix.Readv(zero, buffers)
	case "preadv":
		n, err = unix.Preadv(sparse, buffers, 0)
	case "getrandom":
		n, err = getrandom(buffers)
	case "write":
		for _, b := range buffers {
			if n, err = unix.Write(memory, b); err != nil {
				break
			}
		}
	case "writev":
		n, err = unix.Writev(memory, buffers)
	case "pwritev":
		n, err = unix.Pwritev(memory, buffers, 0)
	case "sendfile":
		n, err = unix.Sendfile(memory, sparse, new(int64), 4*size)
	case "copy":
		n, err = unix.CopyFileRange(sparse, new(int64), memory, new(int64), 4*size, 0)
	case "fallocate":
		err = unix.Fallocate(memory, 0, 0, 4*size)
	case "lock":
		for _, b := range buffers {
			err = errors.Join(err, unix.Mlock(b))
		}
	case "lockall":
		err = unix.Mlockall(unix.MCL_CURRENT)
	case "populate":
		_, err = unix.Mmap(-1, 0, 4*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON|unix.MAP_POPULATE)
	}
	fmt.Println(n, err)
}

func getrandom(buffers [][]byte) (n int, err error) {
	for _, b := range buffers {
		got, _, errno := unix.Syscall(unix.SYS_GETRANDOM, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0)
		if errno != 0 {
			return n, errno
		}
		n += int(got)
	}
	return n, nil
}

// hoardPipes takes memory of the guest's kernel until it is killed.
func hoardPipes() {
	block := make([]byte, 1<<20)
	for {
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_NONBLOCK); err != nil {
			fmt.Println(err)
			return
		}
		if _, err := unix.FcntlInt(uintptr(pipe[1]), unix.F_SETPIPE_SZ, len(block)); err != nil {
			fmt.Println(err)
			return
		}
		_, _ = unix.Write(pipe[1], block)
	}
}

// writeLarge writes more to a file on the disk than the memory that is left, in
// one call, and reports how much was written and whether it is all there.
func writeLarge() string {
	const size = 64 << 20
	data := make([]byte, size)
	for i := 0; i < size; i += 4096 {
		data[i] = byte(i >> 12)
	}
	f, err := os.Create("/large")
	if err != nil {
		return err.Error()
	}
	n, err := unix.Write(int(f.Fd()), data)
	if err != nil {
		return err.Error()
	}
	m, err := unix.Pwritev(int(f.Fd()), [][]byte{data[:size/2], data[size/2:]}, size)
	if err != nil {
		return err.Error()
	}
	one := make([]byte, 1)
	for i := int64(0); i < 2*size; i += 4096 {
		if _, err := f.ReadAt(one, i); err != nil || one[0] != data[i%size] {
			return fmt.Sprintf("at %d is %d, %v", i, one[0], err)
		}
	}
	return fmt.Sprint(n+m == 2*size)
}
