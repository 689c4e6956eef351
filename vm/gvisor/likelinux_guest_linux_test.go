package gvisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The guest's side of likelinux_linux_test.go. Each of these runs in a guest and
// on the host, and prints the same.
var likeLinuxChecks = map[string]func(report func(what string, result any)){
	"messages": messages, "directories": directories, "attributes": attributes, "programs": programs, "tracers": tracers, "pour": pour, "terminals": terminals, "keys": keys, "ports": ports,
}

func likeLinuxCheck(name string) {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		fmt.Println(err)
	}
	dir, err := os.MkdirTemp("/tmp", "like-linux")
	if err := errors.Join(err, os.Chmod(dir, 0o777), os.Chdir(dir)); err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	likeLinuxChecks[name](func(what string, result any) { fmt.Printf("%s: %v\n", what, result) })
}

// asUser runs this program as a user other than root.
func asUser(args ...string) string {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{"/init"}, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(fmt.Sprintf("%s %v", out, err))
}

func messages(report func(string, any)) {
	for name, kind := range map[string]int{"datagram": unix.SOCK_DGRAM, "packet": unix.SOCK_SEQPACKET} {
		for way, send := range emptySends {
			fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				report(name, err)
				continue
			}
			sent := send(fds[0])
			_, err = unix.Write(fds[0], []byte("last"))
			report(fmt.Sprint(name, " by ", way), fmt.Sprint(sent, err, received(fds[1])))
			_, _ = unix.Close(fds[0]), unix.Close(fds[1])
		}
	}
	fds, _ := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	report("stream", fmt.Sprint(emptySends["send"](fds[0]), received(fds[1])))
	at := &unix.SockaddrUnix{Name: "socket"}
	here, _ := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0)
	there, _ := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0)
	report("to a name", fmt.Sprint(unix.Bind(there, at), unix.Sendto(here, nil, 0, at), received(there)))
	report("to no name", unix.Sendto(here, nil, 0, &unix.SockaddrUnix{Name: "none"}))
	report("without a receiver", unix.Sendto(here, nil, 0, nil))
}

var emptySends = map[string]func(fd int) any{
	"send":  func(fd int) any { return unix.Sendto(fd, nil, 0, nil) },
	"write": func(fd int) any { n, err := unix.Write(fd, nil); return fmt.Sprint(n, err) },
	"writev": func(fd int) any {
		n, err := unix.Writev(fd, [][]byte{{}, {}})
		return fmt.Sprint(n, err)
	},
	"sendmsg": func(fd int) any { return unix.Sendmsg(fd, nil, nil, nil, 0) },
	"sendmsg with a file": func(fd int) any {
		f, err := os.Open("/dev/null")
		if err != nil {
			return err
		}
		defer f.Close()
		return fmt.Sprint(sendRaw(fd, unix.UnixRights(int(f.Fd()))))
	},
	"sendmsg with a file that is none": func(fd int) any { return fmt.Sprint(sendRaw(fd, unix.UnixRights(1000))) },
	"sendmmsg": func(fd int) any {
		type message struct {
			header unix.Msghdr
			sent   uint32
		}
		text := []byte("middle")
		vector := unix.Iovec{Base: &text[0], Len: uint64(len(text))}
		list := [3]message{1: {header: unix.Msghdr{Iov: &vector, Iovlen: 1}, sent: 9}}
		list[0].sent, list[2].sent = 9, 9
		n, _, err := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&list)), 3, 0, 0, 0)
		return fmt.Sprint(n, err, list[0].sent, list[1].sent, list[2].sent)
	},
}

// sendRaw sends no byte, where the library would send one along with a file.
func sendRaw(fd int, control []byte) error {
	header := unix.Msghdr{Control: &control[0], Controllen: uint64(len(control))}
	if _, _, err := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&header)), 0); err != 0 {
		return err
	}
	return nil
}

// received lists the messages that wait, with how many files each carries.
func received(fd int) (list []string) {
	for range 10 {
		data, control := make([]byte, 16), make([]byte, 64)
		n, k, _, _, err := unix.Recvmsg(fd, data, control, 0)
		if err != nil {
			return append(list, err.Error())
		}
		files := 0
		if messages, err := unix.ParseSocketControlMessage(control[:k]); err == nil {
			for _, m := range messages {
				rights, _ := unix.ParseUnixRights(&m)
				files += len(rights)
			}
		}
		list = append(list, fmt.Sprintf("%q+%d", data[:n], files))
	}
	return list
}

func directories(report func(string, any)) {
	err := errors.Join(os.MkdirAll("real/inner", 0o777), os.Symlink("real", "link"), os.Symlink("link", "link2"),
		os.Symlink("none", "dangling"), os.WriteFile("file", nil, 0o666), os.Symlink("file", "to-file"), unix.Mkfifo("fifo", 0o666),
		os.Symlink(".", "real/self"), os.Mkdir("searched", 0o711), os.Mkdir("listed", 0o744))
	if err != nil {
		report("set up", err)
	}
	dir, err := unix.Open(".", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		report("open", err)
	}
	const only = unix.O_DIRECTORY | unix.O_NOFOLLOW
	names := []string{"real", "real/", "link", "link/", "link/.", "link/inner", "link2", "dangling", "none", "file", "to-file",
		"fifo", "real/self", "real/self/", "", ".", "..", "file/", "none/x"}
	for _, name := range names {
		for mode, flags := range map[string]int{"only": only, "path": only | unix.O_PATH, "write": only | unix.O_RDWR,
			"create": only | unix.O_CREAT, "follow": unix.O_DIRECTORY, "nofollow": unix.O_NOFOLLOW | unix.O_NONBLOCK} {
			fd, err := unix.Openat(dir, name, flags, 0o600)
			report(name+" "+mode, fmt.Sprint(opened(fd, err)))
		}
		for mode, resolve := range map[string]uint64{"beneath": unix.RESOLVE_BENEATH, "root": unix.RESOLVE_IN_ROOT, "any": 0} {
			fd, err := unix.Openat2(dir, name, &unix.OpenHow{Flags: only | unix.O_CLOEXEC, Resolve: resolve})
			report(name+" "+mode, fmt.Sprint(opened(fd, err)))
		}
	}
	how := [5]uint64{only}
	fd, _, errno := unix.Syscall6(unix.SYS_OPENAT2, uintptr(dir), uintptr(unsafe.Pointer(unsafe.StringData("link\x00"))), uintptr(unsafe.Pointer(&how)), 40, 0, 0)
	report("a longer openat2", opened(int(fd), errnoOrNil(errno)))
	report("as a user", asUser("like-linux-user", "directories", "searched", "listed"))
}

func errnoOrNil(errno syscall.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}

// opened says what was opened and how, and closes it.
func opened(fd int, err error) string {
	if err != nil {
		return err.Error()
	}
	defer unix.Close(fd)
	path, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	cloexec, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	entries, name := "", filepath.Base(path)
	if here, _ := os.Getwd(); path == here {
		name = "here"
	}
	if path != "/tmp" && flags&unix.O_PATH == 0 {
		copied, _ := unix.Dup(fd)
		f := os.NewFile(uintptr(copied), path)
		names, _ := f.Readdirnames(-1)
		entries = fmt.Sprint(len(names))
		f.Close()
	}
	return fmt.Sprintf("%s %o %d %s", name, flags&(unix.O_ACCMODE|unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW), cloexec, entries)
}

func attributes(report func(string, any)) {
	err := errors.Join(os.WriteFile("secret", nil, 0o600), os.WriteFile("mine", nil, 0o600), os.Chown("mine", 1000, 1000),
		os.Chmod("mine", 0), os.Mkdir("closed", 0o700), os.WriteFile("closed/secret", nil, 0o644), os.Symlink("secret", "link"))
	if err != nil {
		report("set up", err)
	}
	report("as a user", asUser("like-linux-user", "attributes", "secret", "mine", "closed", "closed/secret", "link", "none"))
}

func programs(report func(string, any)) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		report("set up", err)
	}
	for name, mode := range map[string]os.FileMode{"only": 0o111, "none": 0o444, "raises": 0o111 | os.ModeSetuid, "others": 0o001, "init": 0o755} {
		if err := errors.Join(os.WriteFile(name, self, 0o755), os.Chmod(name, mode)); err != nil {
			report("set up", err)
		}
	}
	err = errors.Join(os.WriteFile("script", []byte("#!/proc/self/cwd/init like-linux-args\n"), 0o755), os.Chmod("script", 0o111),
		os.Symlink("only", "link"), os.Mkdir("closed", 0o700), os.WriteFile("closed/only", self, 0o111))
	if err != nil {
		report("set up", err)
	}
	report("as a user", asUser("like-linux-user", "programs", "only", "none", "raises", "others", "script", "link", "closed/only", "init"))
}

func tracers(report func(string, any)) {
	self, err := os.ReadFile("/proc/self/exe")
	if err := errors.Join(err, os.WriteFile("only", self, 0o755), os.Chmod("only", 0o111)); err != nil {
		report("set up", err)
	}
	report("with its rights", unix.Access("only", unix.R_OK))
	report("as a user", asUser("like-linux-user", "tracers", "only"))
}

// traced runs a program under a tracer, and says whether that may read its memory. A
// guest may refuse to run it.
func traced(name string, flags uintptr) string {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("./" + name)
	cmd.Args = []string{"/init", "like-linux-args"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Cloneflags: flags}
	if err := cmd.Start(); err != nil {
		return "read: false"
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(cmd.Process.Pid, &status, 0, nil); err != nil {
		return err.Error()
	}
	var regs syscall.PtraceRegs
	_ = syscall.PtraceGetRegs(cmd.Process.Pid, &regs)
	n, err := syscall.PtracePeekText(cmd.Process.Pid, uintptr(regs.Rip), make([]byte, 8))
	return fmt.Sprintf("read: %v", n == 8 && err == nil)
}

// pour sends messages without bytes until they are too many.
func pour(report func(string, any)) {
	for name, kind := range map[string]int{"datagram": unix.SOCK_DGRAM, "packet": unix.SOCK_SEQPACKET} {
		fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			report("set up", err)
			continue
		}
		n := 0
		for ; n < 100_000 && err == nil; n++ {
			err = unix.Sendto(fds[0], nil, 0, nil)
		}
		report(name, fmt.Sprint(n < 100_000, err))
		err = errors.Join(unix.SetNonblock(fds[0], false), unix.SetsockoptTimeval(fds[0], unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Usec: 30_000}))
		report(name+" that waits", fmt.Sprint(err, unix.Sendto(fds[0], nil, 0, nil)))
		_ = unix.SetsockoptTimeval(fds[0], unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{})
		done := make(chan struct{})
		go func(fd int) { // Linux's packets need a quarter of the room.
			for err := error(nil); err == nil; {
				_, _, err = unix.Recvfrom(fd, nil, 0)
			}
			close(done)
		}(fds[1])
		report(name+" for which room comes", unix.Sendto(fds[0], nil, 0, nil))
		<-done
		_, _ = unix.Close(fds[0]), unix.Close(fds[1])
	}
}

// likeLinuxUser is the part of a check that is not root's.
func likeLinuxUser(check string, names []string) {
	for _, name := range names {
		switch check {
		case "directories":
			fd, err := unix.Open(name, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
			fmt.Println(name, opened(fd, err))
		case "attributes":
			for _, attribute := range []string{"security.capability", "security.selinux", "system.posix_acl_access", "trusted.x", "user.x"} {
				_, err := unix.Getxattr(name, attribute, make([]byte, 100))
				_, lerr := unix.Lgetxattr(name, attribute, nil)
				fmt.Println(name, attribute, missing(err), missing(lerr))
			}
		case "tracers":
			fmt.Println(name, traced(name, 0), traced(name, syscall.CLONE_NEWUSER))
		case "programs":
			fmt.Println(name, execute1(name))
		}
	}
}

// missing makes no difference between an attribute that is not there and a kind
// that a file system does not have.
func missing(err error) string {
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
		return "missing"
	}
	return fmt.Sprint(err)
}

func execute1(name string) string {
	cmd := exec.Command("./" + name)
	cmd.Args = []string{"/init", "like-linux-args", "x"}
	out, err := cmd.StdoutPipe()
	in, err2 := cmd.StdinPipe()
	if err := errors.Join(err, err2, cmd.Start()); err != nil {
		return err.Error()
	}
	line := make([]byte, 100)
	n, _ := out.Read(line)
	_, exe := os.Open(fmt.Sprintf("/proc/%d/exe", cmd.Process.Pid))
	_, memory := os.Open(fmt.Sprintf("/proc/%d/mem", cmd.Process.Pid))
	_ = in.Close()
	rest, _ := io.ReadAll(out)
	return fmt.Sprintf("%q %q %v; may read: program %v, memory %v", line[:n], rest, cmd.Wait(), exe == nil, memory == nil)
}
