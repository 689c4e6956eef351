package kernel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// Line is an event as a line of ASCII. Other characters are escaped, since E2B's SDKs need that: the Python one splits
// lines at each separator of Unicode, and the JavaScript one decodes each piece that arrives separately.
func (e Event) Line() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		return nil, err
	}
	return ascii(b.Bytes()), nil
}

func ascii(text []byte) []byte {
	clean := bytes.IndexFunc(text, func(r rune) bool { return r >= 0x7f })
	if clean < 0 {
		return text
	}
	out := append(make([]byte, 0, len(text)+len(text)/4), text[:clean]...)
	for text = text[clean:]; len(text) > 0; {
		r, size := utf8.DecodeRune(text)
		text = text[size:]
		switch {
		case r < 0x7f:
			out = append(out, byte(r))
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}
