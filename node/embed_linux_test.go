package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/vm"
)

// forgetful makes this test binary a program that opens a node and has not called
// Init. Its value is the directory of the node.
const forgetful = "RUNDLET_TEST_FORGETFUL"

func TestMain(m *testing.M) {
	if dir := os.Getenv(forgetful); dir != "" {
		_, err := node.Open(context.Background(), node.Config{Dirs: layout.Layout{StateDir: dir + "/state", CacheDir: dir + "/cache", RunDir: dir + "/run"}})
		if !errors.Is(err, node.ErrNotInitialized) {
			fmt.Fprintln(os.Stderr, "not ErrNotInitialized:")
		}
		// A program that continues and opens the driver directly gets no further.
		d, missing := vm.FindDriver(vm.AutoDriver)
		if missing == nil {
			_, missing = d.New(vm.Options{StateDir: dir + "/driver", RunDir: dir + "/run", Instance: "x"})
		}
		fmt.Fprintln(os.Stderr, errors.Join(err, missing))
		os.Exit(1)
	}
	node.Init()
	os.Exit(m.Run())
}

func TestAProgramThatForgotInitIsToldSoAtOnce(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // It is killed if it does not end.
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	// As the program itself is called: the name decides what a driver takes it for.
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), forgetful+"="+dir)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("it ended with %v", err)
	}
	if text := string(out); !strings.HasPrefix(text, "node.Init must be the first statement of main") || !strings.Contains(text, "has not called vm.Dispatch") {
		t.Errorf("it said %q", text)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it made %v, %v", left, err)
	}
}

func TestTheExampleRuns(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("sandboxes need root")
	}
	if got := printed(t, Example); got != "42\nexit code 0\n" {
		t.Errorf("printed %q", got)
	}
}

// printed returns what f writes to standard output.
func printed(t *testing.T, f func()) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	read := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(r)
		read <- b
	}()
	old := os.Stdout
	os.Stdout = w
	f()
	os.Stdout = old
	w.Close()
	return string(bytes.Clone(<-read))
}
