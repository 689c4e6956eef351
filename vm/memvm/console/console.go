// Package console keeps the newest lines of a machine in memory, as vm.Console requires. It imports the standard library only.
package console

import (
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxLines  = 200
	maxLine   = 4096
	maxBytes  = 64 << 10
	truncated = "...[truncated]"
)

// Tail has the newest lines. The zero value has none. It is for one goroutine at a time.
type Tail struct{ lines []string }

// Add adds a line.
func (t *Tail) Add(line string) {
	line = strings.TrimRight(line, "\r\n")
	if len(line) > maxLine {
		cut := maxLine
		for cut > maxLine-utf8.UTFMax && !utf8.RuneStart(line[cut]) {
			cut--
		}
		line = line[:cut] + truncated
	}
	t.lines = append(t.lines, line)
	bytes, keep := 0, 0
	for keep < min(len(t.lines), maxLines) {
		bytes += len(t.lines[len(t.lines)-1-keep])
		if bytes > maxBytes {
			break
		}
		keep++
	}
	t.lines = slices.Delete(t.lines, 0, len(t.lines)-keep)
}

// Last returns a copy of the newest lines, at most so many; 0 is all.
func (t *Tail) Last(most int) []string {
	lines := t.lines
	if most > 0 && len(lines) > most {
		lines = lines[len(lines)-most:]
	}
	return slices.Clone(lines)
}
