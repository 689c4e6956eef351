package command

import "testing"

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain ünï":              "plain ünï",
		"\x1b[1;31mred\x1b[0m":   "red",
		"\x1b]0;title\aafter":    "after",
		"\x1b]0;title\x1b\\then": "then",
		"\x1b(Bx\x1b":            "Bx",
		"\x1b[":                  "",
		"a\tb\rc\x00\u009bd":     "a bcd",
		"two\nlines":             "two\nlines",
		"\x1b[3\nnext":           "\nnext",
		"bad \xff":               "bad \ufffd",
	} {
		if got := Printable(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}
