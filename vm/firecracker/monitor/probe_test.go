//go:build linux

package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm/firecracker/api"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
	"github.com/rundlet/rundlet/vm/microvm/link"
)

// jailerName is that of a link to the test's own program, which is a process of Firecracker then. The name of its --exec-file is what happens to the guest.
const jailerName = "jailer"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == jailerName {
		fmt.Fprintln(os.Stderr, pretend())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// pretend has the API in the jail until the guest starts, and then is a guest.
func pretend() error {
	argument := func(name string) string { return os.Args[slices.Index(os.Args, name)+1] }
	manner := filepath.Base(argument("--exec-file"))
	if manner == "dies before it answers" {
		return errors.New("cannot make /dev/kvm")
	}
	if err := os.Chdir(filepath.Join(argument("--chroot-base-dir"), programName, argument("--id"), "root")); err != nil {
		return err
	}
	l, err := net.Listen("unix", apiSocket)
	if err != nil {
		return err
	}
	started := make(chan struct{})
	go func() {
		<-started
		switch manner {
		case "boots":
			fmt.Println("[ 0.1] a line of the kernel\n" + link.ProbeAnswer)
			os.Exit(0)
		case "ends":
			os.Exit(0)
		case "is killed":
			// As the first process of its namespace it would survive a signal to itself: the limit of its processor time ends it.
			_ = syscall.Setrlimit(syscall.RLIMIT_CPU, &syscall.Rlimit{})
			spin()
		}
	}()
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch message, refuses := strings.CutPrefix(manner, "refuses "); {
		case r.URL.Path == "/version":
			fmt.Fprintf(w, `{"firecracker_version":%q}`, api.Oldest)
		case r.URL.Path == "/actions" && refuses:
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]string{"fault_message": message})
		case r.URL.Path == "/actions":
			w.WriteHeader(http.StatusNoContent)
			_ = http.NewResponseController(w).Flush()
			close(started)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})}
	return server.Serve(l)
}

func spin() {
	for n := 0; ; n++ { //nolint:revive // It takes a processor.
	}
}

// TestWhatProvesThatNoGuestRuns: a proof is believed until the next boot of the host, so a busy host must not be one.
func TestWhatProvesThatNoGuestRuns(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for namespaces")
	}
	for manner, c := range map[string]struct {
		limit time.Duration
		want  string // empty if the guest boots
		proof bool
	}{
		"boots":                  {time.Minute, "", false},
		"ends":                   {time.Minute, "ended without a word: exited: 0", true},
		"is killed":              {time.Minute, "ended without a word: signal: killed", false},
		"waits":                  {time.Second, "the host is busy, or the guest waits", false},
		"dies before it answers": {time.Minute, "cannot make /dev/kvm", false},
		"refuses Start microvm error: InvalidElfMagicNumber":                  {time.Minute, "InvalidElfMagicNumber", true},
		"refuses Start microvm error: Out of memory (os error 12)":            {time.Minute, "Out of memory", false},
		"refuses Start microvm error: Error creating KVM object: Error(22)":   {time.Minute, "Error(22)", true},
		"refuses Start microvm error: Kvm error: Resource busy (os error 16)": {time.Minute, "Resource busy", false},
	} {
		t.Run(manner, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "fc")
			must(t, err)
			defer os.RemoveAll(dir)
			work, jailer, vmlinux := filepath.Join(dir, "probe"), filepath.Join(dir, jailerName), filepath.Join(dir, "vmlinux")
			self, err := os.Executable()
			must(t, err, os.Mkdir(work, 0o700), os.Symlink(self, jailer), os.WriteFile(vmlinux, []byte("kernel"), 0o600))
			err = Probe(patience(t), Programs{Jailer: jailer, Firecracker: manner, Version: api.Oldest}, kernel.Kernel{Vmlinux: vmlinux}, []byte("init"), work, c.limit)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want an error with %q", err, c.want)
			}
			if proof := errors.As(err, new(*NoGuestError)); proof != c.proof {
				t.Errorf("it is a proof: %v, want %v: %v", proof, c.proof, err)
			}
		})
	}
}

// TestAGuestThatHadAProcessor has this process for one that did not boot.
func TestAGuestThatHadAProcessor(t *testing.T) {
	m := newVM(t)
	m.Process.PID = os.Getpid()
	had := time.Duration(0)
	for had < 500*time.Millisecond {
		var err error
		had, err = processorTime(os.Getpid())
		must(t, err)
	}
	for name, c := range map[string]struct {
		limit, before time.Duration
		proof         bool
	}{
		"all of the time":        {had, 0, true},
		"half of it":             {2 * had, 0, true},
		"a part of it":           {time.Hour, 0, false},
		"only before it started": {time.Hour, had, false},
		"much before it started": {2 * had, had, false},
	} {
		err := m.tooLate(c.limit, c.before)
		if err == nil || errors.As(err, new(*NoGuestError)) != c.proof {
			t.Errorf("%s: %v, want a proof: %v", name, err, c.proof)
		}
	}
	if _, err := processorTime(1<<22 + 1); err == nil {
		t.Error("a process that is not there has a processor time")
	}
}
