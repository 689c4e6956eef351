package cgroups

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// joinEnv has the files by which the test's child joins a group.
const joinEnv = "RUNDLET_TEST_JOIN"

// TestJoinChild is the process that joins, with many threads.
func TestJoinChild(t *testing.T) {
	files := os.Getenv(joinEnv)
	if files == "" {
		t.Skip("TestAProcessJoinsWithAllItsThreads runs it, in a separate process")
	}
	held := make(chan struct{})
	for range 20 {
		go func() {
			runtime.LockOSThread()
			held <- struct{}{}
			select {}
		}()
		<-held
	}
	if err := Join(strings.Split(files, ",")); err != nil {
		t.Fatal(err)
	}
	fmt.Println("joined")
	_, _ = io.ReadAll(os.Stdin) // Until the parent has looked.
}

func TestAProcessJoinsWithAllItsThreads(t *testing.T) {
	g, path := newGroup(t, 0)
	g.cloneInto = false // As on an old kernel.
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestJoinChild$")
	cmd.Env = append(os.Environ(), joinEnv+"="+strings.Join(g.JoinFiles(), ","))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	word := make([]byte, len("joined"))
	if _, err := io.ReadFull(out, word); err != nil || string(word) != "joined" {
		t.Fatalf("%q, %v", word, err)
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/cgroup", cmd.Process.Pid))
	if err != nil || len(threads) < 20 {
		t.Fatalf("%d threads, %v", len(threads), err)
	}
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), path+"\n"); n != len(g.dirs()) {
			t.Errorf("%s is in %d groups, want %d:\n%s", thread, n, len(g.dirs()), text)
		}
	}
}

func TestAProcessThatCannotJoinSaysWhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tasks")
	if err := Join([]string{file}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("the error is %v", err)
	}
}
