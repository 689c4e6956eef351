//go:build linux

package console

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLineRing(t *testing.T) {
	var r lineRing
	for i := range 450 {
		r.write([]byte(fmt.Sprintf("line %d\r\n", i)))
	}
	got := r.tail(0)
	if len(got) != maxLines || got[0] != "line 250" || got[199] != "line 449" {
		t.Errorf("%d lines from %q to %q", len(got), got[0], got[len(got)-1])
	}
	r.write([]byte("par"))
	r.write([]byte("tial"))
	if got := r.tail(2); !slices.Equal(got, []string{"line 449", "partial"}) {
		t.Errorf("tail is %q", got)
	}
}

func TestLineRingIsBounded(t *testing.T) {
	var r lineRing
	block := []byte(strings.Repeat("x", 1<<16))
	for range 100 {
		r.write(block)
	}
	if len(r.partial) > MaxLine+2 {
		t.Errorf("holds %d bytes of one line", len(r.partial))
	}
	r.write([]byte("\nnext\n"))
	if got := r.tail(0); len(got) != 2 || got[0] != strings.Repeat("x", MaxLine)+Cut || got[1] != "next" {
		t.Errorf("%d lines", len(got))
	}
}

// However much a guest writes, the daemon holds a bounded part of it: the newest
// lines, whole.
func TestAConsoleTakesABoundedPartOfTheDaemonsMemory(t *testing.T) {
	for name, line := range map[string]string{
		"long lines": strings.Repeat("x", 4000), "lines that grow": strings.Repeat("x\xff", 2000), "empty lines": "", "short lines": "y",
	} {
		t.Run(name, func(t *testing.T) {
			var r lineRing
			for i := range 1000 {
				r.write([]byte(fmt.Sprint(i, line, "\n")))
			}
			var total int
			lines := r.tail(0)
			for i, got := range lines {
				total += len(got)
				if want := cleanLine([]byte(fmt.Sprint(1000-len(lines)+i, line))); got != want {
					t.Fatalf("line %d of %d is %.20q, want %.20q", i, len(lines), got, want)
				}
			}
			held := 0
			for _, got := range r.lines {
				held += len(got)
			}
			if total != r.bytes || held != total || total > maxBytes || len(lines) < maxLines && total < maxBytes-2*MaxLine-len(Cut) {
				t.Errorf("%d bytes in %d lines are shown, %d are held, %d counted", total, len(lines), held, r.bytes)
			}
		})
	}
}

func TestCleanLine(t *testing.T) {
	full := strings.Repeat("x", MaxLine)
	for name, c := range map[string]struct{ in, want string }{
		"empty":                 {"", ""},
		"carriage return":       {"a\r", "a"},
		"full":                  {full, full},
		"full, carriage return": {full + "\r", full},
		"one too many":          {full + "y", full + Cut},
		"two too many":          {full + "y\r", full + Cut},
		"not utf-8":             {"a\xffb", "a\uFFFDb"},
		"cut in a character":    {full[1:] + "é", full[1:] + Cut},
	} {
		if got := cleanLine([]byte(c.in)); got != c.want {
			t.Errorf("%s: %d bytes, ends with %q", name, len(got), got[max(0, len(got)-20):])
		}
	}
}

func FuzzLineRing(f *testing.F) {
	f.Add([]byte("a\nb\r\n"), 1)
	f.Fuzz(func(t *testing.T, data []byte, step int) {
		var r lineRing
		for chunk := range slices.Chunk(data, max(1, step&0xff)) {
			r.write(chunk)
		}
		for _, line := range r.tail(0) {
			if len(line) > 3*MaxLine+len(Cut) || !utf8.ValidString(line) || strings.Contains(line, "\n") {
				t.Errorf("line %q", line)
			}
		}
	})
}

// A machine may have put a file there, which could be read without end.
func TestOnlyAPipeIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console")
	if err := os.WriteFile(path, []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Open(path); err == nil {
		c.Finish()
		t.Error("a file was opened")
	}
}
