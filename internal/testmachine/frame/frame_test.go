package frame

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestFramesAreReadAsTheyWereWritten(t *testing.T) {
	var stream bytes.Buffer
	long := bytes.Repeat([]byte("0123456789"), Most/4)
	if n, err := (Writer{&stream}).Write(long); err != nil || n != len(long) {
		t.Fatal(n, err)
	}
	if err := Write(&stream, Exit, []byte("7")); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for {
		kind, payload, err := Read(&stream)
		if err != nil {
			t.Fatal(err)
		}
		if kind == Exit {
			if string(payload) != "7" {
				t.Errorf("exit code %q", payload)
			}
			break
		}
		got = append(got, payload...)
	}
	if !bytes.Equal(got, long) {
		t.Errorf("%d bytes came of %d", len(got), len(long))
	}
	if _, _, err := Read(&stream); !errors.Is(err, io.EOF) {
		t.Errorf("after the last frame: %v", err)
	}
}

func TestAnythingButAFrameIsAnError(t *testing.T) {
	var good bytes.Buffer
	if err := Write(&good, Output, []byte("some output")); err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good.Bytes())
	flipped[len(flipped)-1] ^= 1
	otherKind := bytes.Clone(good.Bytes())
	otherKind[len(magic)] = byte(Exit)
	huge := bytes.Clone(good.Bytes())
	huge[len(magic)+1] = 0xff
	for name, c := range map[string]struct {
		stream []byte
		want   error
	}{
		"a line of the kernel": {[]byte("[    1.0] Linux version\n"), ErrDamaged},
		"a flipped bit":        {flipped, ErrDamaged},
		"another kind":         {otherKind, ErrDamaged},
		"an absurd size":       {huge, ErrDamaged},
		"a cut payload":        {good.Bytes()[:good.Len()-1], io.ErrUnexpectedEOF},
		"no payload":           {good.Bytes()[:headerSize], io.ErrUnexpectedEOF},
		"a cut header":         {good.Bytes()[:headerSize-1], io.ErrUnexpectedEOF},
	} {
		if _, _, err := Read(bytes.NewReader(c.stream)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if err := Write(io.Discard, Output, make([]byte, Most+1)); err == nil {
		t.Error("a frame that is too large was written")
	}
}

func FuzzRead(f *testing.F) {
	var good bytes.Buffer
	_ = Write(&good, Output, []byte("some output"))
	f.Add(good.Bytes())
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, stream []byte) {
		kind, payload, err := Read(bytes.NewReader(stream))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := Write(&again, kind, payload); err != nil || !bytes.HasPrefix(stream, again.Bytes()) {
			t.Errorf("%q was read as %c %q: %v", stream, kind, payload, err)
		}
	})
}
