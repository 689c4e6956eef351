package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b"
)

// A hangup reopens the file of the access log, and does not end the command. After a stop it does neither.
func TestAHangUpReopensTheAccessLog(t *testing.T) {
	defer func() { // It is not ignored any more.
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGHUP)
		signal.Stop(c)
	}()
	ctx := untilSignal()
	dir := t.TempDir()
	path := filepath.Join(dir, "access")
	add, end, err := openAccessLog(path, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := os.Rename(path, filepath.Join(dir, "old")); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() {
			if _, err := os.Stat(path); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("hangup %d: the file is not reopened", i)
			}
		}
	}
	add(e2b.Access{Path: "/last"})
	end()
	if b, err := os.ReadFile(path); err != nil || !strings.Contains(string(b), `"path":"/last"`) {
		t.Errorf("%s, %v", b, err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Error("a hangup ended the command")
	}
}

func TestTheAccessLogOnStandardOutput(t *testing.T) {
	var out bytes.Buffer
	add, end, err := openAccessLog(accessToStdout, &out, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	add(e2b.Access{Path: "/"})
	end()
	if strings.Count(out.String(), "\n") != 1 || !strings.Contains(out.String(), `"path":"/"`) {
		t.Errorf("%q", out.String())
	}
	if signal.Ignored(syscall.SIGHUP) {
		t.Error("a hangup ends the command no more")
	}
}

func TestServeRefusesAnAccessLogThatCannotBeWritten(t *testing.T) {
	home(t)
	if _, err := cli(t, "serve", "--listen", "127.0.0.1:0", "--access-log", filepath.Join(t.TempDir(), "missing", "access")); err == nil || !strings.Contains(err.Error(), "--access-log") {
		t.Errorf("%v", err)
	}
}

// A program that reads the log from a pipe may end. The daemon does not end with it, as programs do that write to such a standard output.
func TestTheReaderOfTheAccessLogMayEnd(t *testing.T) {
	if os.Getenv("RUNDLET_TEST_ACCESS_LOG") != "" {
		add, end, err := openAccessLog(accessToStdout, os.Stdout, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		add(e2b.Access{Path: "/"})
		end()
		fmt.Fprint(os.Stderr, "served on")
		return
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	defer writer.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "RUNDLET_TEST_ACCESS_LOG=1")
	var text strings.Builder
	cmd.Stdout, cmd.Stderr = writer, &text
	if err := cmd.Run(); !strings.Contains(text.String(), "served on") {
		t.Errorf("%v, %s", err, text.String())
	}
}
