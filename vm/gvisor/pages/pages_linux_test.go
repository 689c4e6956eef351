package pages

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const smaps = `00400000-00500000 r-xp 00000000 08:01 1234                              /usr/bin/program
Size:               1024 kB
Rss:                 800 kB
Pss:                 100 kB
VmFlags: rd ex mr mw me
00500000-00510000 rw-p 00100000 08:01 1234                              /usr/bin/program
Rss:                  64 kB
c000000000-c000400000 rw-p 00000000 00:00 0                              [anon: Go: heap]
Rss:                 100 kB
c000400000-c004000000 ---p 00000000 00:00 0 
Rss:                   0 kB
7f0000000000-7f0010000000 rw-s 00000000 00:01 77                         /memfd:runsc-memory (deleted)
Rss:                3000 kB
7f1000000000-7f1000100000 rw-s 00000000 08:01 99                         /state/overlay file (deleted)
Rss:                 900 kB
7f2000000000-7f2000001000 r-xp 00000000 00:00 0                          [vdso]
Rss:                   4 kB
7f3000000000-7f3000001000 r--s 00000000 00:01 77                         /memfd:a b: c (deleted)
Rss:                   4 kB
`

func TestOnlyMemoryThatCanGoToSwapIsPagedOut(t *testing.T) {
	got, err := parseMaps(strings.NewReader(smaps))
	if err != nil {
		t.Fatal(err)
	}
	want := []span{{0x500000, 0x510000}, {0xc000000000, 0xc000400000}, {0x7f0000000000, 0x7f0010000000}, {0x7f3000000000, 0x7f3000001000}}
	if !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestMappingsThatAreNotUnderstoodAreAnError(t *testing.T) {
	for _, bad := range []string{"x", "1-2 rw-p 0 0:0", "zz-ff rw-p 00000000 00:00 0", "2000-1000 rw-p 00000000 00:00 0", "1000 rw-p 00000000 00:00 0"} {
		if got, err := parseMaps(strings.NewReader(bad + "\n")); err == nil {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
}

func FuzzParseMaps(f *testing.F) {
	f.Add(smaps)
	f.Fuzz(func(t *testing.T, text string) {
		got, _ := parseMaps(strings.NewReader(text))
		for _, s := range got {
			if s.end < s.begin {
				t.Errorf("the range %x ends before it begins", s)
			}
		}
	})
}

// child starts a process that waits.
func child(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

func listed(pids ...int) func() ([]int, error) {
	return func() ([]int, error) { return pids, nil }
}

func TestProcessesArePagedOutAsFarAsTheContextAllows(t *testing.T) {
	one, two := child(t).Process.Pid, child(t).Process.Pid
	if _, err := Out(t.Context(), listed(one, two)); err != nil {
		t.Errorf("processes that wait: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Out(ended, listed(one, two)); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: %v", err)
	}
}

func TestWithoutSwapNothingIsSwapped(t *testing.T) {
	ended := child(t)
	ended.Process.Kill()
	ended.Wait()
	if bytes := Swapped([]int{os.Getpid(), ended.Process.Pid}); bytes < 0 || bytes > 1<<40 {
		t.Errorf("%d bytes are in swap", bytes)
	}
}

func TestResidentIsTheMemoryOfAProcess(t *testing.T) {
	const size = 32 << 20
	before, err := Resident(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(memory)
	if now, err := Resident(os.Getpid()); err != nil || now-before < size/2 {
		t.Errorf("with %d bytes more it is %d instead of %d, %v", len(memory), now, before, err)
	}
}

func TestAProcessThatHasEndedHasNothingToPageOut(t *testing.T) {
	early, late := child(t), child(t)
	early.Process.Kill()
	early.Wait()
	calls := 0
	list := func() ([]int, error) {
		if calls++; calls == 2 { // When there is a handle.
			late.Process.Kill()
			late.Wait()
		}
		return []int{early.Process.Pid, late.Process.Pid}, nil
	}
	if freed, err := Out(t.Context(), list); freed != 0 || err != nil || calls != 2 {
		t.Errorf("got %d, %v after %d lists", freed, err, calls)
	}
}

func TestAProcessThatIsNotListedAgainIsLeftAlone(t *testing.T) {
	pid := child(t).Process.Pid
	calls := 0
	list := func() ([]int, error) {
		if calls++; calls == 2 {
			return nil, nil
		}
		return []int{pid}, nil
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel() // It would be noticed if the process were paged out.
	if freed, err := Out(ended, list); freed != 0 || err != nil {
		t.Errorf("got %d, %v", freed, err)
	}
	broken := errors.New("broken")
	if _, err := Out(t.Context(), func() ([]int, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("without a list: %v", err)
	}
}
