package lines

import (
	"slices"
	"strings"
	"testing"
)

func messages(l *Log) (out []string) {
	for _, line := range l.Lines(0, Max) {
		out = append(out, line.Message)
	}
	return out
}

func TestOutputBecomesLines(t *testing.T) {
	l := &Log{}
	w := &Writer{Log: l, Step: "1"}
	for _, piece := range []string{"a", "b\nc\r\n", "\n\n  \n", "10%\r20%\r", "last", "\xff"} {
		if n, err := w.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatal(n, err)
		}
	}
	w.Flush()
	w.Flush()
	if got := messages(l); !slices.Equal(got, []string{"ab", "c", "10%", "20%", "last\ufffd"}) {
		t.Errorf("got %q", got)
	}
	if l.Lines(0, 1)[0].Step != "1" || len(l.Lines(3, 100)) != 2 || len(l.Lines(100, 1)) != 0 || l.Lines(100, 1) == nil || len(l.Lines(-1, -1)) != 0 {
		t.Error("pages are wrong")
	}
}

func TestALongLineIsCut(t *testing.T) {
	l := &Log{}
	w := &Writer{Log: l}
	long := strings.Repeat("0123456789", maxLine/10*3)
	w.Write([]byte(long))
	w.Flush()
	if got := strings.Join(messages(l), ""); got != long {
		t.Errorf("%d bytes became %d", len(long), len(got))
	}
	l.Add("info", "", long)
	if got := messages(l); len(got[len(got)-1]) != maxLine+len(" ...") {
		t.Errorf("a message of %d bytes", len(got[len(got)-1]))
	}
}

func TestALogHasAnEndAndShowsTheError(t *testing.T) {
	for name, fill := range map[string]func(*Log){
		"lines": func(l *Log) {
			for range 2 * Max {
				l.Add("info", "", "x")
			}
		},
		"bytes": func(l *Log) {
			for range 2 * maxSize / maxLine {
				l.Add("info", "", strings.Repeat("x", maxLine))
			}
		},
	} {
		l := &Log{}
		fill(l)
		n := len(messages(l))
		l.Add("error", "1", "it failed")
		got := messages(l)
		if n > Max || len(got) != n+1 || got[n] != "it failed" || !strings.HasPrefix(got[n-1], "The log is full") {
			t.Errorf("%s: %d lines, then %q", name, n, got[n-1:])
		}
	}
}

func TestBoundedKeepsTheBeginning(t *testing.T) {
	b := Bounded{Most: 5}
	for _, text := range []string{"abc", "def", "ghi"} {
		if n, err := b.Write([]byte(text)); n != 3 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if b.String() != "abcde" {
		t.Errorf("it has %q", b.String())
	}
}
