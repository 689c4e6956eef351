package accesslog

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/e2b"
)

// descriptors counts those of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestNoFileStaysOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access")
	before := descriptors(t)
	for range 5 {
		l, err := Open(path, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		l.Reopen()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l.Add(e2b.Access{}) // Lost, and not kept.
		if l.lost != 1 || len(l.lines) != 0 {
			t.Errorf("%d lines are lost, %d bytes wait", l.lost, len(l.lines))
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, before %d", after, before)
	}
}

// A new file has nothing of a line that its predecessor has in part.
func TestAReopenedFileBeginsWithALine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path, disk := filepath.Join(t.TempDir(), "access"), &full{room: 10}
		l := start(stream{disk}, path, slog.New(slog.DiscardHandler))
		l.Add(e2b.Access{Status: 1})
		synctest.Wait()
		disk.room = 1
		l.signal() // Nothing is to be written.
		synctest.Wait()
		l.Reopen()
		l.Add(e2b.Access{Status: 2})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if got := read(t, path); len(numbers(t, got)) != 1 || disk.text.Len() != 10 {
			t.Errorf("%q after %q", got, disk.text.String())
		}
	})
}

// What many lines at once took of memory is not held until the end.
func TestABurstLeavesSmallBuffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := To(&full{room: 1 << 30}, slog.New(slog.DiscardHandler))
		l.mu.Lock() // So that all are written at once.
		l.lines = append(l.lines, strings.Repeat("x", most)...)
		l.mu.Unlock()
		for range 3 {
			l.Add(e2b.Access{})
			l.signal()
			synctest.Wait()
		}
		if c := cap(l.lines); c > kept {
			t.Errorf("a buffer of %d bytes", c)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// However many lines are lost, there is a report every five seconds at most.
func TestLossesAreReportedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := &record{}
		l := To(&full{}, logs.logger())
		lose := func() {
			l.Add(e2b.Access{})
			synctest.Wait()
		}
		lose()
		time.Sleep(reportTime / 2)
		lose()
		time.Sleep(reportTime/2 + time.Second)
		lose()
		time.Sleep(reportTime - time.Second)
		if got := logs.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "lines=2") {
			t.Error(got)
		}
		if err := l.Close(); err != nil || !strings.Contains(logs.String(), "lines=1") {
			t.Errorf("%v, %s", err, logs)
		}
	})
}
