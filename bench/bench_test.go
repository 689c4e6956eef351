package bench

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/substrate/latency"
)

func TestRowsCompareMedians(t *testing.T) {
	s := samples{}
	for i := range 9 {
		s.add("bare restore", 100*time.Millisecond)
		s.add("api create", time.Duration(120+i)*time.Millisecond) // median 124
		s.add("bare exec", 10*time.Millisecond)
		s.add("api exec", 7*time.Millisecond)
	}
	byName := map[string]Row{}
	for _, r := range rows(s) {
		byName[r.Name] = r
	}
	if r := byName["create to ready (REST)"]; r.Ratio != 1.24 || !r.Met || r.Ours.Count != 9 {
		t.Errorf("create: %+v", r)
	}
	if r := byName["warm exec to first stdout (API)"]; r.Ratio != 0.7 || r.Met {
		t.Errorf("exec at 0.7 of the bare one must miss a limit of 0.6: %+v", r)
	}
	if r := byName["kill (REST)"]; r.Ratio != 0 || !r.Met {
		t.Errorf("a row without samples and limit: %+v", r)
	}
}

func TestALimitWithoutSamplesIsNotMet(t *testing.T) {
	for _, r := range rows(samples{}) {
		if r.Limit > 0 && r.Met {
			t.Errorf("%s counts as met without a sample", r.Name)
		}
	}
}

func TestTheTextNamesWhatWasMissed(t *testing.T) {
	var b bytes.Buffer
	err := Report{Rows: []Row{{Name: "x", Ratio: 2, Limit: 1}, {Name: "y", Ratio: 1, Limit: 2, Met: true}},
		Stages: []latency.Summary{{Name: latency.ReadyProbe, Count: 1}}}.WriteText(&b)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if strings.Contains(line, " x ") != strings.Contains(line, "MISSED") || strings.Contains(line, " y ") != strings.Contains(line, " met") {
			t.Errorf("line %q", line)
		}
	}
	if !strings.Contains(b.String(), "MISSED") || !strings.Contains(b.String(), latency.ReadyProbe) {
		t.Errorf("got\n%s", b.String())
	}
}

func TestFirstByteIgnoresEmptyWrites(t *testing.T) {
	var f firstByte
	f.Write(nil)
	if !f.at.IsZero() {
		t.Error("an empty write counted")
	}
	f.Write([]byte("x"))
	at := f.at
	f.Write([]byte("y"))
	if at.IsZero() || f.at != at {
		t.Error("the first byte's time was not kept")
	}
}
