package latency

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

func TestRecorderKeepsTheNewest(t *testing.T) {
	var r Recorder
	for i := range Keep + 10 {
		r.Record(KillDelete, time.Duration(i))
	}
	r.Record(KillDelete, -1)
	got := r.Summaries()
	if len(got) != 1 || got[0].Count != Keep || got[0].Total != Keep+10 || got[0].Min != 10 || got[0].Max != Keep+9 {
		t.Errorf("got %+v", got)
	}
	if got[0].Overflow != 10 {
		t.Errorf("%d overflowed, want the 10 oldest", got[0].Overflow)
	}
}

func TestRecorderIsSafeForConcurrentUse(t *testing.T) {
	var r Recorder
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				r.Record(ReadyProbe, time.Millisecond)
				r.Record(CommandStart, time.Millisecond)
			}
			r.Summaries()
		})
	}
	wg.Wait()
	got := r.Summaries()
	if len(got) != 2 || got[0].Name != CommandStart || got[0].Total != 800 || got[1].Total != 800 {
		t.Errorf("got %+v", got)
	}
}

func TestSinkIsToldOfEverySampleThatIsKept(t *testing.T) {
	var told []string
	var r Recorder
	r.Sink = func(name string, d time.Duration) {
		r.Summaries() // Would never return under the lock.
		told = append(told, fmt.Sprint(name, d))
	}
	r.Record(ReadyProbe, time.Second)
	r.Record(ReadyProbe, -time.Second)
	r.Record(ResumeToFirstStdoutAlias, time.Minute)
	if want := fmt.Sprint([]string{ReadyProbe + "1s", ResumeToFirstStdout + "1m0s"}); fmt.Sprint(told) != want {
		t.Errorf("told %v, want %v", told, want)
	}
}

func TestRenamedMetricIsEmittedUnderItsFirstName(t *testing.T) {
	var r Recorder
	r.Record(ResumeToFirstStdoutAlias, time.Second)
	r.Record(ResumeToFirstStdout, 2*time.Second)
	got := r.Summaries()
	if len(got) != 1 || got[0].Name != "sandbox.start.resume_snapshot_to_first_stdout_ms" || got[0].Count != 2 {
		t.Errorf("got %+v", got)
	}
}

func TestNamesAreThoseOfTheContract(t *testing.T) {
	// Written out: a constant that is edited must fail here.
	contract := []string{
		"warm_snapshot_restore", "ready_probe", "command_start", "first_stdout_byte", "kill_delete", "snapshot_save",
		"cold_template_build", "warm_pool_checkout", "sandbox.start.resume_snapshot_to_first_stdout_ms",
	}
	all := Names()
	for i, want := range contract {
		if all[i] != want {
			t.Errorf("name %d is %q, want %q", i, all[i], want)
		}
	}
	seen := map[string]bool{}
	for _, name := range all {
		if seen[name] || Canonical(name) != name {
			t.Errorf("%q is there twice, or an alias", name)
		}
		seen[name] = true
	}
	all[0] = "changed"
	if Names()[0] != WarmSnapshotRestore {
		t.Error("a caller can change the names")
	}
}

func BenchmarkRecord(b *testing.B) {
	var r Recorder
	b.ReportAllocs()
	for b.Loop() {
		r.Record(CommandStart, time.Millisecond)
	}
}
