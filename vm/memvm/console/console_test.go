package console

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestTheNewestLinesAreKept(t *testing.T) {
	var tail Tail
	if got := tail.Last(0); len(got) > 0 {
		t.Errorf("a new console has %q", got)
	}
	for n := range maxLines + 5 {
		tail.Add(fmt.Sprintf("line %d\r\n", n))
	}
	all := tail.Last(0)
	if len(all) != maxLines || all[0] != "line 5" || all[maxLines-1] != "line 204" {
		t.Errorf("%d lines from %q to %q", len(all), all[0], all[len(all)-1])
	}
	last := tail.Last(2)
	if !slices.Equal(last, []string{"line 203", "line 204"}) {
		t.Errorf("the last ones are %q", last)
	}
	last[0] = "changed"
	if tail.Last(2)[0] != "line 203" {
		t.Error("a caller changes what is kept")
	}
}

func TestLongLinesAreCut(t *testing.T) {
	var tail Tail
	tail.Add("x" + strings.Repeat("ü", maxLine))
	line := tail.Last(1)[0]
	if text, cut := strings.CutSuffix(line, truncated); !cut || len(text) != maxLine-1 || !strings.HasSuffix(text, "ü") {
		t.Errorf("the line has %d bytes, and ends with %q", len(line), line[len(line)-20:])
	}
	for range 100 {
		tail.Add(strings.Repeat("y", maxLine))
	}
	if kept := len(tail.Last(0)); kept != maxBytes/maxLine {
		t.Errorf("%d lines of %d bytes are kept", kept, maxLine)
	}
}
