package gvisor

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// imageCommand is what the binary does in the guests of image_linux_test.go.
func imageCommand(args []string) bool {
	switch args[0] {
	case "tree":
		fmt.Println(strings.Join(treeOf(args[1]), "\n"))
	case "mapped":
		fmt.Println(mapped(args[1]))
	case "df":
		var st unix.Statfs_t
		if err := unix.Statfs(args[1], &st); err != nil {
			fmt.Println(err)
		}
		fmt.Println(int64(st.Blocks) * st.Bsize >> 20)
	default:
		return false
	}
	return true
}

// treeOf describes each file below a directory. Which names are of one file counts, and not
// its number.
func treeOf(root string) (all []string) {
	links := map[uint64][]string{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		text := fmt.Sprintf("%q %o %d:%d %d.%d", path, st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := os.ReadFile(path)
			text += fmt.Sprintf(" size %d content %x %v links %d", st.Size, sha256.Sum256(data), err, st.Nlink)
			links[st.Ino] = append(links[st.Ino], path)
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			text += fmt.Sprintf(" target %q %v", target, err)
		}
		names := make([]byte, 1<<16)
		if n, err := unix.Llistxattr(path, names); err == nil && n > 0 {
			text += fmt.Sprintf(" attributes %q", names[:n])
		}
		all = append(all, text)
		return nil
	})
	if err != nil {
		return []string{err.Error()}
	}
	for _, names := range links {
		if len(names) > 1 {
			all = append(all, fmt.Sprintf("%q are one file", names))
		}
	}
	slices.Sort(all)
	return all
}

// mapped reads a file by mapping it.
func mapped(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err.Error()
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return err.Error()
	}
	return string(data)
}
