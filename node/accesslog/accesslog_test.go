package accesslog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/e2b"
)

// record is a logger whose lines can be read.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func (r *record) logger() *slog.Logger { return slog.New(slog.NewTextHandler(r, nil)) }

// numbers are the statuses of the lines of a log, each of which must be whole.
func numbers(t *testing.T, text string) (out []int) {
	t.Helper()
	for line := range strings.Lines(text) {
		var a e2b.Access
		if err := json.Unmarshal([]byte(line), &a); err != nil || !strings.HasSuffix(line, "\n") {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, a.Status)
	}
	return out
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestALineForEachRequest(t *testing.T) {
	path, logs := filepath.Join(t.TempDir(), "access"), &record{}
	for range 2 { // The second appends.
		l, err := Open(path, logs.logger())
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() { l.Add(e2b.Access{Status: i, Path: "/a\n\x1b", UserAgent: `"`}) })
		}
		wg.Wait()
		for range 2 {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := numbers(t, read(t, path)); len(got) != 100 {
		t.Errorf("%d lines", len(got))
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if logs.String() != "" {
		t.Error(logs)
	}
	want := `{"time":"2026-01-02T03:04:05Z","duration_ms":1.5,"peer":"127.0.0.1:1","method":"GET","kind":"port","path":"/","sandbox_id":"i0","port":80,"status":200,"bytes_in":1,"bytes_out":2}` + "\n"
	var out bytes.Buffer
	l := To(&out, logs.logger())
	l.Add(e2b.Access{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), DurationMS: 1.5, Peer: "127.0.0.1:1", Method: "GET", Kind: e2b.AccessPort, Path: "/", SandboxID: "i0", Port: 80,
		Status: 200, BytesIn: 1, BytesOut: 2,
	})
	l.Reopen() // There is nothing to reopen.
	if err := l.Close(); err != nil || out.String() != want || logs.String() != "" {
		t.Errorf("%s, %v", out.String(), err)
	}
}

// As logrotate does: the file is renamed, and then the daemon gets a signal.
func TestARenamedFileIsReopened(t *testing.T) {
	dir, logs := t.TempDir(), &record{}
	path := filepath.Join(dir, "access")
	if err := os.WriteFile(path, nil, 0o640); err != nil { // As its "create" does.
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	l, err := Open(path, logs.logger())
	if err != nil {
		t.Fatal(err)
	}
	rename := func(to string) {
		if err := os.Rename(path, filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	await := func(name string, want int) {
		for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() {
			b, _ := os.ReadFile(filepath.Join(dir, name))
			if bytes.Count(b, []byte{'\n'}) == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s has %q", name, b)
			}
		}
	}
	l.Add(e2b.Access{Status: 1})
	await("access", 1)
	rename("access.1")
	l.Add(e2b.Access{Status: 2})
	await("access.1", 2)
	l.Reopen()
	l.Add(e2b.Access{Status: 3})
	await("access", 1)
	rename("access.2")
	if err := os.Mkdir(path, 0o700); err != nil { // It cannot be opened.
		t.Fatal(err)
	}
	l.Reopen()
	l.Add(e2b.Access{Status: 4})
	await("access.2", 2)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"access.1": "[1 2]", "access.2": "[3 4]"} {
		if got := fmt.Sprint(numbers(t, read(t, filepath.Join(dir, name)))); got != want {
			t.Errorf("%s has %s", name, got)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "access.1")); err != nil || info.Mode() != 0o640 {
		t.Errorf("the mode of an existing file became %v, %v", info.Mode(), err)
	}
	if strings.Count(logs.String(), "access log reopened") != 1 || !strings.Contains(logs.String(), "the former file is used") || strings.Contains(logs.String(), "lost") {
		t.Error(logs)
	}
}

// full takes so many bytes.
type full struct {
	mu   sync.Mutex
	room int
	text bytes.Buffer
}

func (f *full) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := min(len(b), f.room)
	f.room -= n
	f.text.Write(b[:n])
	if n < len(b) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

// A full disk costs the lines that do not fit, and no other: what comes afterwards begins on a new line.
func TestAFullDiskCostsLinesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, logs := &full{room: 1 << 20}, &record{}
		l := To(disk, logs.logger())
		add := func(status int) {
			l.Add(e2b.Access{Status: status})
			synctest.Wait()
		}
		add(1)
		disk.room = 10
		add(2)
		add(3)
		add(4)
		time.Sleep(reportTime)
		synctest.Wait()
		if got := logs.String(); strings.Count(got, "access log lines lost") != 1 || !strings.Contains(got, "lines=3") || !strings.Contains(got, "no space left") {
			t.Error(got)
		}
		disk.room = 1 << 20
		add(5)
		add(6)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		lines := strings.SplitAfter(disk.text.String(), "\n")
		if len(lines) != 5 || len(lines[1]) != 11 || fmt.Sprint(numbers(t, lines[0]+lines[2]+lines[3])) != "[1 5 6]" {
			t.Errorf("%q", lines)
		}
	})
	if f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0); err == nil { // The kernel's own.
		f.Close()
		logs := &record{}
		l, err := Open("/dev/full", logs.logger())
		if err != nil {
			t.Fatal(err)
		}
		l.Add(e2b.Access{})
		if err := l.Close(); err != nil || !strings.Contains(logs.String(), "lines=1") {
			t.Errorf("%v, %s", err, logs)
		}
	}
}

// A pipe whose reader takes nothing holds no request up, takes a bounded amount of memory, and does not keep the daemon from its end.
func TestAStreamThatBlocksHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, writer := io.Pipe()
		logs := &record{}
		l := To(writer, logs.logger())
		begin := time.Now()
		a := e2b.Access{Path: strings.Repeat("x", 1024)}
		line, _ := json.Marshal(a)
		fit := most / (len(line) + 1)
		l.Add(a)
		synctest.Wait() // The writer blocks with it.
		for range 2 * fit {
			l.Add(a)
		}
		if time.Since(begin) > 0 {
			t.Error("a request waited")
		}
		l.mu.Lock()
		if len(l.lines) > most || cap(l.lines) > 2*most {
			t.Errorf("%d bytes wait, in %d", len(l.lines), cap(l.lines))
		}
		l.mu.Unlock()
		time.Sleep(reportTime)
		synctest.Wait()
		if want := fmt.Sprintf("lines=%d", fit); !strings.Contains(logs.String(), want) || !strings.Contains(logs.String(), errFull.Error()) {
			t.Errorf("%s, want %s", logs, want)
		}
		begin = time.Now()
		if err := l.Close(); err == nil || time.Since(begin) != closeTime {
			t.Errorf("closed after %v, %v", time.Since(begin), err)
		}
		if want := fmt.Sprintf("lines=%d", fit); strings.Count(logs.String(), want) != 2 {
			t.Errorf("the end does not report what waited: %s", logs)
		}
		l.Add(a)
		if len(l.lines) != 0 { // What is reported as lost is not written later.
			t.Errorf("%d bytes wait after the end", len(l.lines))
		}
		reader.CloseWithError(errors.New("the reader ends")) // And the writer with it.
		<-l.ended
	})
}

// What waits is written at the end, if its reader takes it in time.
func TestCloseWritesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, writer := io.Pipe()
		l := To(writer, slog.New(slog.DiscardHandler))
		for i := range 100 {
			l.Add(e2b.Access{Status: i})
		}
		var text []byte
		go func() {
			time.Sleep(closeTime / 2)
			text, _ = io.ReadAll(reader)
		}()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		writer.Close()
		synctest.Wait()
		if got := numbers(t, string(text)); len(got) != 100 {
			t.Errorf("%d lines", len(got))
		}
	})
}

// A named pipe is not waited for, neither for a reader at the start nor for one that stops reading.
func TestANamedPipeIsNotWaitedFor(t *testing.T) {
	path, logs := filepath.Join(t.TempDir(), "pipe"), &record{}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, logs.logger()); !errors.Is(err, syscall.ENXIO) {
		t.Fatalf("without a reader: %v", err)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	l, err := Open(path, logs.logger())
	if err != nil {
		t.Fatal(err)
	}
	l.patience = time.Millisecond
	for range 2 * most / 1024 {
		l.Add(e2b.Access{Path: strings.Repeat("x", 1024)})
	}
	if err := l.Close(); err == nil || !strings.Contains(logs.String(), "access log lines lost") {
		t.Errorf("%v, %s", err, logs)
	}
	<-l.ended // The Write has ended.
}

func TestAFileThatCannotBeWrittenIsRefused(t *testing.T) {
	for _, path := range []string{t.TempDir(), filepath.Join(t.TempDir(), "missing", "access")} {
		if l, err := Open(path, slog.New(slog.DiscardHandler)); err == nil {
			l.Close()
			t.Errorf("%s is accepted", path)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	l := To(io.Discard, slog.New(slog.DiscardHandler))
	defer l.Close()
	a := e2b.Access{Time: time.Now(), Peer: "127.0.0.1:40000", Method: "POST", Kind: "agent", Path: "/process.Process/Start", SandboxID: "i0123456789abcdef", Port: 49983, Status: 200, UserAgent: "e2b-python-sdk"}
	b.ReportAllocs()
	for b.Loop() {
		l.Add(a)
	}
}
