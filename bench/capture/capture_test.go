package capture

import (
	"strings"
	"testing"
)

func TestFirstByteIgnoresEmptyWrites(t *testing.T) {
	var f FirstByte
	f.Write(nil)
	if !f.At.IsZero() {
		t.Error("an empty write counted")
	}
	f.Write([]byte("x"))
	at := f.At
	f.Write([]byte("y"))
	if at.IsZero() || f.At != at {
		t.Error("the first byte's time was not kept")
	}
}

func TestWhatACommandComplainsOfIsBounded(t *testing.T) {
	var b strings.Builder
	l := Limited{&b, 5}
	for range 3 {
		if n, err := l.Write([]byte("abc")); n != 3 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if b.String() != "abcab" {
		t.Errorf("%q", b.String())
	}
}
