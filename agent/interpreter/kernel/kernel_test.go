package kernel

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestLinesAreASCII(t *testing.T) {
	for name, text := range map[string]string{
		"plain": "a <b> & \"c\"\n", "umlaut": "größe", "beyond 16 bits": "x😀y", "separators": "a\u2028b\u2029c\u0085d\x0b\x0c\x1c\x7f", "invalid": "a\xffb", "empty": "",
	} {
		t.Run(name, func(t *testing.T) {
			line, err := Output("stdout", text).Line()
			if err != nil {
				t.Fatal(err)
			}
			if at := bytes.IndexFunc(line, func(r rune) bool { return r < ' ' || r > '~' }); at != len(line)-1 || line[at] != '\n' {
				t.Errorf("%q is not one line of ASCII", line)
			}
			var back struct{ Type, Text string }
			if err := json.Unmarshal(line, &back); err != nil || back.Type != "stdout" {
				t.Fatalf("%q: %v", line, err)
			}
			if want := string([]rune(text)); back.Text != want {
				t.Errorf("%q, want %q", back.Text, want)
			}
		})
	}
}

func TestWhatIsNoJSONIsAnError(t *testing.T) {
	if line, err := (Event{"type": "result", "json": json.RawMessage("{")}).Line(); err == nil {
		t.Errorf("%q", line)
	}
}
