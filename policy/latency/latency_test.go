package latency

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
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
	samples := r.Samples(KillDelete)
	if len(samples) != Keep || samples[0].Value != 10 || samples[Keep-1].Value != Keep+9 {
		t.Errorf("%d samples are not the newest, oldest first", len(samples))
	}
	if got := r.Samples(ReadyProbe); got != nil {
		t.Errorf("of nothing: %v", got)
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
			r.Samples(ReadyProbe)
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
	r.RecordTagged(ResumeToFirstStdoutAlias, time.Minute, map[string]string{"k": "v"})
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
	if got := r.Samples("start.resume_to_first_stdout_ms"); len(got) != 2 {
		t.Errorf("asked by its alias: %v", got)
	}
}

func TestTagsStayWithinTheirLimits(t *testing.T) {
	many := map[string]string{}
	for i := range MaxTags + 3 {
		many[fmt.Sprintf("k%02d", i)] = "v"
	}
	for name, c := range map[string]struct {
		tags map[string]string
		kept int
		cut  uint64
	}{
		"none":                 {nil, 0, 0},
		"as many as may be":    {map[string]string{strings.Repeat("k", MaxTagKey): strings.Repeat("v", MaxTagValue)}, 1, 0},
		"too many":             {many, MaxTags, 3},
		"a long key":           {map[string]string{strings.Repeat("k", MaxTagKey+1): "v", "a": "b"}, 1, 1},
		"an empty key":         {map[string]string{"": "v"}, 0, 1},
		"a long value":         {map[string]string{"args": strings.Repeat("v", MaxTagValue+1)}, 1, 1},
		"cut inside a letter":  {map[string]string{"args": strings.Repeat("v", MaxTagValue-1) + "é"}, 1, 1},
		"long and not a text":  {map[string]string{"args": strings.Repeat("\x80", MaxTagValue+9)}, 1, 1},
		"of the guest, 1 MiB":  {map[string]string{"cmd": strings.Repeat("€", 1<<20)}, 1, 1},
		"a short odd one":      {map[string]string{"cmd": "\xff"}, 1, 0},
		"as long as can be, é": {map[string]string{"args": strings.Repeat("é", MaxTagValue/2)}, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var r Recorder
			r.RecordTagged(CommandStart, 1, c.tags)
			got := r.Samples(CommandStart)
			if len(got) != 1 || len(got[0].Tags) != c.kept || r.CutTags() != c.cut {
				t.Fatalf("kept %d tags and cut %d, want %d and %d", len(got[0].Tags), r.CutTags(), c.kept, c.cut)
			}
			for k, v := range got[0].Tags {
				if len(k) > MaxTagKey || len(v) > MaxTagValue {
					t.Errorf("%d bytes = %d bytes", len(k), len(v))
				}
				if utf8.ValidString(c.tags[k]) && !utf8.ValidString(v) {
					t.Errorf("a letter was broken: %q", v[len(v)-3:])
				}
			}
		})
	}
}

func TestTagsAreCopied(t *testing.T) {
	var r Recorder
	tags := map[string]string{"cmd": "true"}
	r.RecordTagged(CommandStart, 1, tags)
	tags["cmd"] = "false"
	if got := r.Samples(CommandStart)[0].Tags["cmd"]; got != "true" {
		t.Errorf("the caller's change shows: %s", got)
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
