package command

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode"
)

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

// What clients and guests wrote changes no terminal in JSON either, and stays what it is for a program.
func TestJSONIsPrintable(t *testing.T) {
	want := map[string]string{"plain ünï 漢 😀 <&>": "\x1b[31m\x00\x7f\u0085\u009b31m\u200b\u202e\u2028\U000e0001 \\ \" end"}
	for name, print := range map[string]func(*bytes.Buffer) error{
		"indented": func(b *bytes.Buffer) error { return PrintJSON(b, want) },
		"a line":   func(b *bytes.Buffer) error { return PrintJSONLine(b, want) },
	} {
		var b bytes.Buffer
		if err := print(&b); err != nil {
			t.Fatal(err)
		}
		text := strings.TrimSuffix(b.String(), "\n")
		if i := strings.IndexFunc(strings.ReplaceAll(text, "\n", " "), func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 || !strings.Contains(text, "plain ünï 漢 😀") {
			t.Errorf("%s: %q", name, text)
		}
		var got map[string]string
		if err := json.Unmarshal(b.Bytes(), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if lines := strings.Count(b.String(), "\n"); (lines == 1) != (name == "a line") {
			t.Errorf("%s: %d lines", name, lines)
		}
	}
	if err := PrintJSONLine(&bytes.Buffer{}, func() {}); err == nil {
		t.Error("what is not JSON was printed")
	}
}
