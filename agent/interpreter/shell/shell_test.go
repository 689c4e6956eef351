//go:build linux

package shell

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/agent/interpreter/kernel"
)

func start(t *testing.T) *Shell {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	s, err := Start(t.Context(), Config{Bash: "bash", Dir: "/usr", Env: []string{"PATH=" + os.Getenv("PATH"), "OF_START=s"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
	return s
}

// run returns the output of code by its stream; its error is under "error".
func run(t *testing.T, s *Shell, r kernel.Run) (map[string]string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	got := map[string]string{}
	err := s.Run(ctx, r, func(e kernel.Event) error {
		switch kind := e["type"].(string); kind {
		case "error":
			got[kind] = fmt.Sprint(e["name"], " ", e["value"])
		case "number_of_executions":
			got["count"] = fmt.Sprint(e["execution_count"])
		default:
			got[kind] += e["text"].(string)
		}
		return nil
	})
	return got, err
}

func TestRuns(t *testing.T) {
	s := start(t)
	for i, c := range []struct {
		run  kernel.Run
		want map[string]string
	}{
		{kernel.Run{Code: "echo $OF_START $PWD; N=5; f() { echo f; }; cd /"}, map[string]string{"stdout": "s /usr\n"}},
		{kernel.Run{Code: "echo $N $PWD; f; echo err >&2"}, map[string]string{"stdout": "5 /\nf\n", "stderr": "err\n"}},
		{kernel.Run{Code: `echo "$A"; env | grep -c ^A=`, Env: map[string]string{"A": "it's\n\\n $HOME"}}, map[string]string{"stdout": "it's\n\\n $HOME\n1\n"}},
		{kernel.Run{Code: "echo ${A-unset}"}, map[string]string{"stdout": "unset\n"}},
		{kernel.Run{Code: "G=changed; echo $G", Sandbox: map[string]string{"G": "g"}}, map[string]string{"stdout": "changed\n"}},
		{kernel.Run{Code: "echo $G", Sandbox: map[string]string{"G": "g"}}, map[string]string{"stdout": "changed\n"}},
		{kernel.Run{Code: "echo $G", Sandbox: map[string]string{"G": "h"}}, map[string]string{"stdout": "h\n"}},
		{kernel.Run{Code: "env | grep ^G=", Sandbox: map[string]string{"G": "g"}}, map[string]string{"stdout": "G=g\n"}},
		{kernel.Run{Code: "env | grep ^G=; false"}, map[string]string{"stdout": "G=g\n", "error": "ExitStatus 1"}},
		{kernel.Run{Code: "cat; read x; echo $?"}, map[string]string{"stdout": "1\n"}},
		{kernel.Run{Code: "echo a!b 'c!d'; history"}, map[string]string{"stdout": "a!b c!d\n"}},
		{kernel.Run{Code: "return 3"}, map[string]string{"error": "ExitStatus 3"}},
		{kernel.Run{Code: ""}, map[string]string{}},
		{kernel.Run{Code: "echo x >&9"}, map[string]string{"stderr": "*Bad file descriptor", "error": "ExitStatus 1"}},
		{kernel.Run{Code: "if true; then"}, map[string]string{"stderr": "*unexpected end of file", "error": "ExitStatus 2"}},
		{kernel.Run{Code: "printf '\\303'; sleep 0.1; printf '\\274\\377\\n\\303'"}, map[string]string{"stdout": "ü\ufffd\n\ufffd"}},
		{kernel.Run{Code: "head -c 3000000 /dev/zero | tr '\\0' x"}, map[string]string{"stdout": strings.Repeat("x", 3000000)}},
		{kernel.Run{Code: "(sleep 60; echo late) & echo at once"}, map[string]string{"stdout": "at once\n"}},
	} {
		got, err := run(t, s, c.run)
		if err != nil {
			t.Fatalf("%q: %v", c.run.Code, err)
		}
		c.want["count"] = fmt.Sprint(i + 1)
		for stream, want := range c.want {
			if end, ok := strings.CutPrefix(want, "*"); ok && strings.Contains(got[stream], end) {
				got[stream] = want
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%q: %.300q, want %.300q", c.run.Code, got, c.want)
		}
	}
}

var errGone = errors.New("the client is gone")

func TestCodeWhoseClientIsGoneIsInterrupted(t *testing.T) {
	for name, code := range map[string]string{
		"that prints": "kept=1; while :; do echo x; done", "that is silent": "kept=1; echo x; while :; do sleep 1; done", "in functions": "kept=1; f() { while :; do echo x; done; }; g() { f; g; }; g",
		"that catches one": "kept=1; bash -c 'trap \"trap - INT\" INT; echo x; while :; do sleep 0.1; done'",
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			err := s.Run(t.Context(), kernel.Run{Code: code}, func(e kernel.Event) error {
				if e["type"] == "stdout" {
					return errGone
				}
				return nil
			})
			if !errors.Is(err, errGone) {
				t.Errorf("%v", err)
			}
			if got, err := run(t, s, kernel.Run{Code: "echo $kept"}); err != nil || got["stdout"] != "1\n" {
				t.Errorf("the next run: %q, %v", got, err)
			}
		})
	}
}

func TestAShellThatEnds(t *testing.T) {
	for code, why := range map[string]string{"exit 4": "exit status 4", "kill -9 $$": "signal: killed", "exec true": "exit status 0", "set -e; false": "exit status 1"} {
		s := start(t)
		if got, err := run(t, s, kernel.Run{Code: "echo out; " + code}); !errors.Is(err, kernel.ErrEnded) || s.Why() != why || got["stdout"] != "out\n" {
			t.Errorf("%s: %q, %v, %s", code, got, err, s.Why())
		}
		if _, err := run(t, s, kernel.Run{Code: "echo"}); !errors.Is(err, kernel.ErrEnded) {
			t.Errorf("a run of a shell that has ended: %v", err)
		}
	}
}

func TestCloseDoesNotWaitForAClient(t *testing.T) {
	s := start(t)
	stuck, free, result := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		result <- s.Run(t.Context(), kernel.Run{Code: "yes"}, func(e kernel.Event) error {
			if e["type"] == "stdout" {
				close(stuck)
				<-free
				return errGone
			}
			return nil
		})
	}()
	<-stuck
	s.Close()
	close(free)
	if err := <-result; err == nil {
		t.Error("no error")
	}
}

func TestCloseEndsARun(t *testing.T) {
	s := start(t)
	result := make(chan error, 1)
	began := make(chan struct{})
	go func() {
		result <- s.Run(t.Context(), kernel.Run{Code: "echo x; sleep 600"}, func(e kernel.Event) error {
			if e["type"] == "stdout" {
				close(began)
			}
			return nil
		})
	}()
	<-began
	s.Close()
	if err := <-result; !errors.Is(err, kernel.ErrEnded) {
		t.Errorf("%v", err)
	}
}

func TestShellsThatDoNotStart(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, bash := range []string{"/none", "/bin/false"} {
		if s, err := Start(t.Context(), Config{Bash: bash, Dir: "/"}); err == nil {
			t.Errorf("%s started", bash)
			s.Close()
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	hangs := t.TempDir() + "/hangs"
	if err := os.WriteFile(hangs, []byte("#!/bin/sh\nexec sleep 600\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(ctx, Config{Bash: hangs, Dir: "/", Env: os.Environ()}); err == nil {
		t.Error("a shell that hangs started")
	}
	if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
