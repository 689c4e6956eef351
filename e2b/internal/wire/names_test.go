package wire

import (
	"strings"
	"testing"
)

func TestParseID(t *testing.T) {
	for in, want := range map[string]string{
		"i0123456789abcdefghij": "i0123456789abcdefghij",
		"abc-def":               "abc",
		"abc-":                  "", "-abc": "", "": "", "-": "", "a-b-c": "", "ABC": "", "a/b": "", "a.b": "", "a\n": "", "ä": "",
		strings.Repeat("a", 64): "",
	} {
		got, err := ParseID(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("ParseID(%q) = %q, %v", in, got, err)
		}
	}
}
