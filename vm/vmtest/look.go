package vmtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The answers of Look to a question that changes something.
const (
	Done     = "done"
	ReadOnly = "read-only file system"
	Full     = "no space left on device"
	TooMany  = "too many processes"
)

// idleEnv marks the processes that Look starts.
const idleEnv = "VMTEST_IDLE"

// Idle reports whether Look started the process only to have one more, and then
// returns when that is over. A guest program calls it first, and ends if so.
func Idle() bool {
	if os.Getenv(idleEnv) == "" {
		return false
	}
	_, _ = os.Stdin.Read(make([]byte, 1)) // Returns when the parent closes the pipe or ends.
	return true
}

// Look is the guest's program: it answers one question about the guest, or does
// something and reports the outcome. The questions are:
//
//	hostname                the host name
//	memory                  how many bytes of memory there are
//	processors              how many processors there are
//	args, cwd               of the first process; arguments are separated by spaces
//	env NAME                a variable of the first process
//	addresses               of all network interfaces, separated by spaces
//	command-line            of the kernel
//	read PATH               the content of a file
//	write PATH MIB          adds to a file, which it makes if there is none
//	change PATH             overwrites the first byte of a file, and its mode
//	remove PATH             removes a file
//	processes N             starts as many, and ends them
//	spin SECONDS            keeps four threads busy
//	eat                     uses memory until there is none
//
// It is for Linux guests. A failure without a specific answer is "error: ...".
func Look(question ...string) string {
	answer, err := look(append(question, "", "", "")[0], append(question, "", "", "")[1:])
	switch {
	case err == nil:
		return answer
	case errors.Is(err, syscall.EROFS):
		return ReadOnly
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return Full
	case errors.Is(err, syscall.EAGAIN):
		return TooMany
	}
	return "error: " + err.Error()
}

func look(what string, args []string) (string, error) {
	switch what {
	case "hostname":
		return os.Hostname()
	case "memory":
		return memory()
	case "processors":
		data, err := os.ReadFile("/proc/cpuinfo")
		return strconv.Itoa(strings.Count(string(data), "processor\t:")), err
	case "args":
		data, err := os.ReadFile("/proc/1/cmdline")
		return strings.ReplaceAll(strings.TrimRight(string(data), "\x00"), "\x00", " "), err
	case "cwd":
		return os.Readlink("/proc/1/cwd")
	case "env":
		data, err := os.ReadFile("/proc/1/environ")
		for pair := range strings.SplitSeq(string(data), "\x00") {
			if value, ok := strings.CutPrefix(pair, args[0]+"="); ok {
				return value, err
			}
		}
		return "", err
	case "addresses":
		all, err := net.InterfaceAddrs()
		var out []string
		for _, a := range all {
			if n, ok := a.(*net.IPNet); ok {
				out = append(out, n.IP.String())
			}
		}
		return strings.Join(out, " "), err
	case "command-line":
		data, err := os.ReadFile("/proc/cmdline")
		return strings.TrimSpace(string(data)), err
	case "read":
		data, err := os.ReadFile(args[0])
		return string(data), err
	case "write":
		return Done, write(args[0], args[1])
	case "change":
		return Done, change(args[0])
	case "remove":
		return Done, os.Remove(args[0])
	case "processes":
		return Done, processes(args[0])
	case "spin":
		return Done, spin(args[0])
	case "eat":
		eat()
		return Done, nil
	}
	return "", fmt.Errorf("unknown question %q", what)
}

// memory is the total that the kernel reports.
func memory() (string, error) {
	data, err := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemTotal:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			return strconv.FormatInt(kib<<10, 10), err
		}
	}
	return "", errors.Join(err, errors.New("/proc/meminfo has no total"))
}

func write(path, mib string) error {
	n, err := strconv.Atoi(mib)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	for range n {
		if _, err = f.Write(block); err != nil {
			break
		}
	}
	return errors.Join(err, f.Close())
}

func change(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte{'#'}, 0)
	return errors.Join(err, f.Close(), os.Chmod(path, 0o777))
}

func processes(count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	for range n {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{idleEnv + "=1"}
		in, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		defer func() {
			_ = in.Close()
			_ = cmd.Wait()
		}()
	}
	return nil
}

func spin(seconds string) error {
	n, err := strconv.ParseFloat(seconds, 64)
	if err != nil {
		return err
	}
	end := time.Now().Add(time.Duration(n * float64(time.Second)))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			runtime.LockOSThread() // Ends with the goroutine.
			for time.Now().Before(end) {
			}
		})
	}
	all.Wait()
	return nil
}

// mostEaten bounds the memory of the host that a guest without a limit takes.
const mostEaten = 1 << 30

func eat() {
	var all [][]byte
	for len(all) < mostEaten>>24 {
		block := make([]byte, 16<<20)
		for i := 0; i < len(block); i += os.Getpagesize() {
			block[i] = 1
		}
		all = append(all, block)
	}
	runtime.KeepAlive(all)
}
