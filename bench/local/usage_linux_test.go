package local

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/rundlet/rundlet/bench/processor"
)

func TestUsageOfProcessesIsRead(t *testing.T) {
	u := &procUsage{}
	self := []int{os.Getpid(), 1 << 30} // The second does not exist.
	mib, err := u.PSS(self)
	if err != nil || mib <= 1 || mib > 4096 {
		t.Errorf("PSS %g MiB, %v", mib, err)
	}
	if twice, err := u.PSS([]int{os.Getpid(), os.Getpid()}); err != nil || twice > 1.5*mib {
		t.Errorf("memory that two have counts %g MiB, and one's %g MiB, %v", twice, mib, err)
	}
	if sameMemory(os.Getpid(), os.Getppid()) {
		t.Error("the parent has the memory of this process")
	}
	if swap, err := u.Swapped(self); err != nil || swap < 0 || swap > 4096 {
		t.Errorf("%g MiB in swap, %v", swap, err)
	}
	for begin := time.Now(); time.Since(begin) < 50*time.Millisecond; {
		slices.Sort(make([]int, 1000))
	}
	all, err := u.CPU(self)
	own, rss, selfErr := u.Self()
	if err != nil || selfErr != nil || all <= 0 || own <= 0 || rss < mib/2 {
		t.Errorf("processor time %s and %s, RSS %g MiB, %v, %v", all, own, rss, err, selfErr)
	}
	if memoryFree() <= 0 || loadAverage() == "" {
		t.Errorf("%d MiB are free, the load is %q", memoryFree(), loadAverage())
	}
}

func TestDescendants(t *testing.T) {
	// A shell gives a job in the background no input, so that it is passed on by hand.
	cmd := exec.Command("sh", "-c", "exec 3<&0; cat <&3 & echo; wait")
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
	var one [1]byte
	out.Read(one[:]) // The child was started.
	got := descendants([]int{cmd.Process.Pid})
	in.Close()
	cmd.Process.Kill()
	cmd.Wait()
	if len(got) != 2 || got[0] != cmd.Process.Pid {
		t.Errorf("%v of %d", got, cmd.Process.Pid)
	}
}

func TestTheProcessorTimeOfThisProcessIsItsGroups(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to make control groups")
	}
	u := newUsage()
	if u.missing != nil {
		t.Fatal(u.missing)
	}
	if _, err := u.Processor(); err == nil {
		t.Error("it is known without a sandbox")
	}
	// A process in another group stands for a sandbox.
	above, err := processor.Make("rundlet-test")
	if err != nil {
		t.Fatal(err)
	}
	defer above.Remove()
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := above.Add(cmd.Process.Pid); err != nil {
		t.Error(err)
	}
	before, err := u.Processor()
	for begin := time.Now(); time.Since(begin) < 50*time.Millisecond; {
		slices.Sort(make([]int, 1000))
	}
	after, again := u.Processor()
	if err != nil || again != nil || after <= before {
		t.Errorf("%s, %v; after work %s, %v", before, err, after, again)
	}
	n, err := u.Wakeups(os.Getpid(), 1<<30)
	if self, selfErr := u.Wakeups(); err != nil || selfErr != nil || n <= 0 || self < n {
		t.Errorf("woken %d times, %v; then %d, %v", n, err, self, selfErr)
	}
	in.Close()
	cmd.Wait()
	if err := u.Close(); err != nil {
		t.Error(err)
	}
	if home, err := processor.Of(os.Getpid()); err != nil || !home.Is(u.home) {
		t.Errorf("left in %+v, %v", home, err)
	}
}
