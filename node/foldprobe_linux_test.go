package node_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// probeEnv makes the test binary a program of a guest.
const probeEnv = "NODE_TEST_PROBE"

func init() {
	var err error
	switch os.Getenv(probeEnv) {
	case "":
		return
	case "write":
		err = writeAll()
	case "list":
		err = listAll(os.Stdout)
	case "use":
		err = useAll()
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// writeAll changes the guest's root in all ways in which a step can.
func writeAll() error {
	var errs []error
	must := func(more ...error) { errs = append(errs, more...) }
	file := func(path, content string) { must(os.WriteFile(path, []byte(content), 0o644)) }
	// In the root image there are these: see tree.
	must(os.Remove("/data/file"), os.RemoveAll("/data/dir"))
	must(os.RemoveAll("/data/dir-to-file"))
	file("/data/dir-to-file", "a file now")
	must(os.Remove("/data/file-to-dir"), os.Mkdir("/data/file-to-dir", 0o700))
	file("/data/file-to-dir/in", "in a directory now")
	must(os.RemoveAll("/data/another"), os.Mkdir("/data/another", 0o755))
	file("/data/another/only", "the only one")
	must(os.Remove("/data/link-to-dir"), os.Mkdir("/data/link-to-dir", 0o755), os.Remove("/data/link"), os.Symlink("/elsewhere", "/data/link"))
	if os.Rename("/data/moved", "/data/moved-to") != nil { // As mv does where the file system cannot.
		must(os.Mkdir("/data/moved-to", 0o755), os.Rename("/data/moved/f", "/data/moved-to/f"), os.Remove("/data/moved"))
	}
	must(os.Link("/data/kept", "/data/kept-too"), os.Chmod("/data/mode", 0o600), os.Chown("/data/owner", 33, 44), os.Truncate("/data/shorter", 3))
	f, err := os.OpenFile("/data/changed", os.O_WRONLY, 0)
	must(err)
	_, err = f.WriteAt([]byte("X"), 1)
	must(err, f.Close(), os.Remove("/data/one-of-two"))

	must(os.Mkdir("/n", 0o755), os.Chdir("/n"), os.MkdirAll("deep"+strings.Repeat("/d", 60), 0o755), os.Mkdir("empty", 0o1777), os.Mkdir("renamed-from", 0o750))
	file("renamed-from/f", "renamed")
	must(os.Rename("renamed-from", "renamed-to"), os.Rename("renamed-to/f", "renamed-to/g"))
	file("hard", "linked")
	must(os.Link("hard", "hard2"), os.Link("hard", "renamed-to/hard3"), os.Symlink("hard", "sym"), os.Link("sym", "sym2"), os.Lchown("sym", 5, 6))
	file("setuid", "program")
	must(os.Chown("setuid", 12, 4_000_000_000), os.Chmod("setuid", 0o755|fs.ModeSetuid|fs.ModeSetgid))
	must(os.Symlink("dangling\xff\n", "target"), os.Symlink(strings.Repeat("t", 4000), "long-target"))
	must(unix.Mkfifo("pipe", 0o640), os.Chown("pipe", 7, 8), unix.Mknod("null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	l, err := net.Listen("unix", "/n/socket")
	must(err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	must(l.Close(), os.Chmod("socket", 0o660))
	for _, name := range []string{strings.Repeat("x", 255), "new\nline", "bad\xff\xfeutf", " ", `quote"\`, ".wh.kept", ".wh..wh..opq", "..x", "ü"} {
		file(name, name)
	}
	must(os.Mkdir("dir\xff", 0o711))
	file("dir\xff/in\xfe", "")
	noise := make([]byte, 20<<20)
	for i := range noise {
		noise[i] = byte(i * i >> 7)
	}
	must(os.WriteFile("large", noise, 0o600), os.WriteFile("sparse", nil, 0o644), os.Truncate("sparse", 300<<20))
	f, err = os.OpenFile("sparse", os.O_WRONLY, 0)
	must(err)
	_, err = f.WriteAt([]byte("in the middle"), 200<<20+5)
	must(err, f.Close())
	for i := range 300 {
		file(fmt.Sprintf("many%d", i), strings.Repeat("m", i))
	}
	file("capable", "program")
	file("noted", "")
	must(unix.Setxattr("capable", "security.capability", []byte("\x01\x00\x00\x02\xc0\x20\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0),
		unix.Setxattr("noted", "user.text", []byte("text"), 0), unix.Setxattr("noted", "user.bytes", []byte{0, 255}, 0), unix.Setxattr("renamed-to", "user.dir", []byte("1"), 0),
		unix.Setxattr("/data/untouched", "user.of-the-image", []byte("1"), 0))
	// What looks as a part of an overlay or a loop, and what is at the bounds.
	must(unix.Setxattr("/data/looks-opaque", "user.overlay.opaque", []byte("y"), 0), os.Mkdir("/n/opaque", 0o755), unix.Setxattr("/n/opaque", "user.overlay.opaque", []byte("y"), 0))
	file("/n/opaque/in", "kept")
	must(os.Symlink("loop2", "loop1"), os.Symlink("loop1", "loop2"), os.Symlink(".", "self"), os.Symlink("/", "/data/dir"))
	file("owned", "")
	must(os.Lchown("owned", 4_294_967_294, 4_294_967_293), os.Mkdir("sticky", 0o3777|os.ModeSticky|os.ModeSetgid))
	must(os.MkdirAll("long/"+strings.Repeat(strings.Repeat("l", 200)+"/", 15)+"end", 0o700))
	must(os.Rename("/data/sub/from", "/data/sub/to"), os.Remove("/data/swap-a"), os.Rename("/data/swap-b", "/data/swap-a"), os.Symlink("swap-a", "/data/swap-b"))
	if err := unix.Mknod("zero", unix.S_IFCHR|0o600, 0); err != nil && !errors.Is(err, unix.EPERM) {
		must(err)
	}
	for name, at := range map[string]time.Time{"many1": time.Unix(1, 999_999_999), "many2": time.Unix(-1000, 0), "many4": time.Unix(-1, 500_000_000), "many5": time.Unix(-2_000_000_000, 1), "many6": time.Unix(9_000_000_000, 999_999_999), "many3": time.Unix(5_000_000_000, 500_000_000), "empty": time.Unix(7, 0)} {
		must(os.Chtimes(name, at, at))
	}
	return errors.Join(errs...)
}

// changing are the files that each sandbox has another content of, and directories whose time changes with them.
var changing = []string{"/", "/etc", "/etc/hostname", "/etc/hosts", "/etc/machine-id", "/run", "/listing", "/tmp", "/more"}

// listAll writes a line for each file of the root, with all that a program can see of it.
func listAll(w io.Writer) error {
	first := map[[2]uint64]string{}
	return filepath.WalkDir("/", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if slices.Contains([]string{"/proc", "/sys", "/dev", "/run/rundlet"}, path) {
			return fs.SkipDir
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return fmt.Errorf("%q: %w", path, err)
		}
		if slices.Contains(changing, path) {
			return nil
		}
		what := ""
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			sum := sha256.New()
			n, err := io.Copy(sum, f)
			f.Close()
			if err != nil || n != st.Size {
				return fmt.Errorf("%q has %d bytes, and %d can be read: %w", path, st.Size, n, err)
			}
			what = fmt.Sprintf("%d %x", st.Size, sum.Sum(nil))
		case unix.S_IFLNK:
			if what, err = os.Readlink(path); err != nil {
				return err
			}
		case unix.S_IFCHR, unix.S_IFBLK:
			what = fmt.Sprint(st.Rdev)
		}
		if st.Nlink > 1 && !d.IsDir() {
			id := [2]uint64{uint64(st.Dev), st.Ino}
			if first[id] == "" {
				first[id] = path // Another name of it may have been removed: overlays count it.
			} else {
				what += fmt.Sprintf(" also %q", first[id])
			}
		}
		attributes := make([]byte, 64<<10)
		n, err := unix.Llistxattr(path, attributes)
		if err != nil && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("%q: attributes: %w", path, err)
		}
		names := strings.FieldsFunc(string(attributes[:max(0, n)]), func(r rune) bool { return r == 0 })
		slices.Sort(names)
		for _, name := range names {
			n, err := unix.Lgetxattr(path, name, attributes)
			if err != nil {
				return fmt.Errorf("%q: %s: %w", path, name, err)
			}
			what += fmt.Sprintf(" %s=%q", name, attributes[:n])
		}
		if st.Mtim.Nsec >= 1e9 { // Before 1970 gVisor rounds the seconds of private files up.
			at := st.Mtim.Sec*1e9 + int64(int32(uint32(st.Mtim.Nsec)))
			st.Mtim.Sec, st.Mtim.Nsec = at/1e9-1, at%1e9+1e9
		}
		_, err = fmt.Fprintf(w, "%q %o %d:%d %d.%09d %q\n", path, st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec, what)
		return err
	})
}

// useAll uses what an image cannot have.
func useAll() error {
	read := make(chan string, 1)
	go func() {
		data, err := os.ReadFile("/n/pipe")
		read <- fmt.Sprint(string(data), err)
	}()
	if err := os.WriteFile("/n/pipe", []byte("through the pipe "), 0); err != nil {
		return err
	}
	if got := <-read; got != "through the pipe <nil>" {
		return fmt.Errorf("the pipe carries %q", got)
	}
	if _, err := net.Dial("unix", "/n/socket"); !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("a socket without a program: %w", err)
	}
	if err := os.WriteFile("/n/null", []byte("x"), 0); err != nil {
		return err
	}
	return errors.Join(os.WriteFile("/n/large", []byte("changed"), 0), os.Remove("/n/hard"), os.RemoveAll("/data"), os.Mkdir("/data", 0o755))
}
