package terminal

import "testing"

func TestUpToKey(t *testing.T) {
	for _, c := range []struct {
		text string
		want int
	}{{"abc", 3}, {"ab\x03c", 2}, {"\x03abc", 4}, {"\x03\x03", 1}, {"a", 1}} {
		if got := upToKey([]byte(c.text), "\x03\x1c"); got != c.want {
			t.Errorf("%q: %d, want %d", c.text, got, c.want)
		}
	}
}

// A file that is not a terminal is not taken for one.
func TestNoteSideOfAnotherFile(t *testing.T) {
	if err := noteSide(nil); err != nil {
		t.Error(err)
	}
	if _, _, err := discipline(&struct{}{}, "t", "ld"); err == nil {
		t.Error("a struct without fields is a terminal")
	}
}
