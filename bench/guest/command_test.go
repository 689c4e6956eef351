package guest

import (
	"strings"
	"testing"
)

func TestFirstByteIgnoresEmptyWrites(t *testing.T) {
	seen := 0
	f := firstByte{seen: func() { seen++ }}
	f.Write(nil)
	if seen != 0 {
		t.Error("an empty write counted")
	}
	f.Write([]byte("x"))
	f.Write([]byte("y"))
	if seen != 1 {
		t.Errorf("the first byte was seen %d times", seen)
	}
}

func TestWhatACommandComplainsOfIsBounded(t *testing.T) {
	var b strings.Builder
	l := limited{&b, 5}
	for range 3 {
		if n, err := l.Write([]byte("abc")); n != 3 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if b.String() != "abcab" {
		t.Errorf("%q", b.String())
	}
}
