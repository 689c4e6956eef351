package dataplane

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

type seen struct{ started, stdout int }

func (s *seen) CommandStarted(string, time.Duration) { s.started++ }
func (s *seen) FirstStdout(string, time.Duration)    { s.stdout++ }

func messages(texts ...string) []byte {
	var b bytes.Buffer
	for _, t := range texts {
		b.WriteByte(0)
		binary.Write(&b, binary.BigEndian, uint32(len(t)))
		b.WriteString(t)
	}
	return b.Bytes()
}

func TestStartStream(t *testing.T) {
	start := `{"event":{"start":{"pid":7}}}`
	out := `{"event":{"data":{"stdout":"` + strings.Repeat("QUFB", 1000) + `"}}}`
	for _, tc := range []struct {
		name   string
		stream []byte
		want   seen
	}{
		{"a command that prints twice counts once", messages(start, out, out), seen{1, 1}},
		{"one that prints to stderr only", messages(start, `{"event":{"data":{"stderr":"`+strings.Repeat("A", 99)+`"}}}`, `{"event":{"end":{}}}`), seen{1, 0}},
		{"stderr first, then stdout", messages(start, `{"event":{"data":{"stderr":"InN0ZG91dCI="}}}`, out), seen{1, 1}},
		{"keep-alives between", messages(start, `{"event":{"keepalive":{}}}`, `{}`, ``, out), seen{1, 1}},
		{"a terminal is interactive", messages(start, `{"event":{"data":{"pty":"QQ=="}}}`, out), seen{1, 0}},
		{"the word in the output of another kind", messages(start, `{"event":{"data":{"stderr":"AAAAAAAAAAAAAAAA"stdout"`), seen{1, 0}},
		{"cut in the middle", messages(start, out)[:40], seen{1, 0}},
		{"a length beyond the stream", []byte{0, 0xff, 0xff, 0xff, 0xff, '{'}, seen{}},
		{"nothing", nil, seen{}},
	} {
		for how, wrap := range map[string]func(io.Reader) io.Reader{
			"at once":      func(r io.Reader) io.Reader { return r },
			"byte by byte": iotest.OneByteReader,
		} {
			t.Run(tc.name+"/"+how, func(t *testing.T) {
				var got seen
				s := &startStream{ReadCloser: io.NopCloser(wrap(bytes.NewReader(tc.stream))), to: &got}
				passed, err := io.ReadAll(s)
				if err != nil || !bytes.Equal(passed, tc.stream) {
					t.Fatalf("the stream was changed: %d of %d bytes, %v", len(passed), len(tc.stream), err)
				}
				if got != tc.want {
					t.Errorf("saw %+v, want %+v", got, tc.want)
				}
			})
		}
	}
}

func FuzzStartStream(f *testing.F) {
	f.Add(messages(`{"event":{"start":{"pid":7}}}`, `{"event":{"data":{"stdout":"QQ=="}}}`), 3)
	f.Fuzz(func(t *testing.T, stream []byte, chunk int) {
		var whole, pieces seen
		(&startStream{to: &whole}).scan(stream)
		s := &startStream{to: &pieces}
		for rest := stream; len(rest) > 0; {
			n := min(max(chunk, 1), len(rest))
			s.scan(rest[:n])
			rest = rest[n:]
		}
		if whole != pieces || whole.started > 1 || whole.stdout > 1 {
			t.Errorf("at once %+v, in pieces %+v", whole, pieces)
		}
	})
}
