package command

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Printable returns a text without what could change a terminal: programs of guests write logs, and anybody writes what errors quote.
func Printable(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); {
		if text[i] == '\x1b' {
			i += sequence(text[i:])
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		i += size
		switch {
		case r == '\t':
			out.WriteByte(' ')
		case r == '\n' || unicode.IsPrint(r):
			out.WriteRune(r)
		}
	}
	return out.String()
}

// printJSON prints JSON with an escape for each character that could change a terminal. Such characters are in strings only.
func printJSON(w io.Writer, text []byte) error {
	if text == nil {
		return nil
	}
	var out []byte
	for _, r := range string(text) {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	_, err := w.Write(append(out, '\n'))
	return err
}

// sequence is the length of the escape sequence at the beginning of a text.
func sequence(text string) int {
	if len(text) < 2 || text[1] != '[' && text[1] != ']' {
		return min(2, len(text))
	}
	for i := 2; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\a', text[1] == '[' && c >= '@' && c <= '~':
			return i + 1
		case c < ' ':
			return i
		}
	}
	return len(text)
}
