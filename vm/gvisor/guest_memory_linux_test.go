package gvisor

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// hoard takes memory until it is killed.
func hoard(way string) {
	zero, err := os.Open("/dev/zero")
	if err != nil {
		fmt.Println(err)
		return
	}
	var all [][]byte
	for {
		block, err := unix.Mmap(-1, 0, 64<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			fmt.Println(err)
			return
		}
		all = append(all, block)
		for done := 0; done < len(block); {
			if way == "touch" {
				block[done] = 1
				done += os.Getpagesize()
				continue
			}
			n, err := zero.Read(block[done:])
			if err != nil {
				fmt.Println(err)
				return
			}
			done += n
		}
		runtime.KeepAlive(all)
	}
}

// mapMemory maps more than there is, or not, and touches none of it.
func mapMemory(how string) error {
	size, prot, flags := 1<<30, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON
	switch how {
	case "noreserve":
		flags |= unix.MAP_NORESERVE
	case "none":
		prot = unix.PROT_NONE
	case "small", "growing":
		size = 16 << 20
	}
	block, err := unix.Mmap(-1, 0, size, prot, flags)
	if err == nil && how == "growing" {
		_, err = unix.Mremap(block, 1<<30, unix.MREMAP_MAYMOVE)
	}
	return err
}

// sizeOf is how much a file system in memory holds.
func sizeOf(where string) string {
	if where == "own" {
		where = "/mnt"
		if err := unix.Mount("tmpfs", where, "tmpfs", 0, ""); err != nil {
			return err.Error()
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(where, &st); err != nil {
		return err.Error()
	}
	return fmt.Sprint(int64(st.Blocks) * st.Bsize)
}
