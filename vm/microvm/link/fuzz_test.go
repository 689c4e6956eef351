package link

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestReadLine(t *testing.T) {
	full := strings.Repeat("x", MaxLine-1) + "\n"
	for name, c := range map[string]struct {
		in   string
		want []string
	}{
		"none":             {"", nil},
		"short":            {"a\n\nb\n", []string{"a\n", "\n", "b\n"}},
		"without an end":   {"a\nb", []string{"a\n"}},
		"longest":          {full + "b\n", []string{full, "b\n"}},
		"too long":         {"x" + full + "b\n", []string{"b\n"}},
		"two are too long": {"a\nx" + full + strings.Repeat("y", 3*MaxLine) + "\nb\n", []string{"a\n", "b\n"}},
		"too long, no end": {"a\nx" + full[:MaxLine-1] + "y", []string{"a\n"}},
	} {
		for _, size := range []int{16, 4 << 10, 2 * MaxLine} {
			r := bufio.NewReaderSize(strings.NewReader(c.in), size)
			var got []string
			for {
				line, err := ReadLine(r)
				if err != nil {
					if !errors.Is(err, io.EOF) {
						t.Errorf("%s: %v", name, err)
					}
					break
				}
				got = append(got, string(line))
			}
			if strings.Join(got, "|") != strings.Join(c.want, "|") {
				t.Errorf("%s, buffer of %d: %d lines", name, size, len(got))
			}
		}
	}
}

func FuzzReadLine(f *testing.F) {
	f.Add([]byte("a\nb\n\nc"), uint16(16))
	f.Add([]byte(strings.Repeat("x", 100)+"\ny\n"), uint16(17))
	f.Fuzz(func(t *testing.T, data []byte, size uint16) {
		var want []string
		for line := range bytes.Lines(data) {
			if bytes.HasSuffix(line, []byte("\n")) && len(line) <= MaxLine {
				want = append(want, string(line))
			}
		}
		r := bufio.NewReaderSize(bytes.NewReader(data), int(size))
		for i := 0; ; i++ {
			line, err := ReadLine(r)
			if err != nil {
				if i != len(want) || !errors.Is(err, io.EOF) {
					t.Fatalf("%d lines, want %d: %v", i, len(want), err)
				}
				return
			}
			if i >= len(want) || string(line) != want[i] {
				t.Fatalf("line %d is %.100q", i, line)
			}
		}
	})
}

// scripted is a connection that reads a text, and loses what is written.
type scripted struct {
	net.Conn // Nil: other methods are not used.
	in       io.Reader
}

func (s *scripted) Read(p []byte) (int, error)       { return s.in.Read(p) }
func (s *scripted) Write(p []byte) (int, error)      { return len(p), nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }
func (s *scripted) Close() error                     { return os.ErrClosed }

// Whatever a guest writes, a call that it did not answer fails, and what it says of its end is short.
func FuzzClient(f *testing.F) {
	f.Add([]byte("{\"nonce\":\"a\"}\n{\"exit\":\"exited: 1\"}\n"))
	f.Add([]byte("{\"nonce\":\"a\",\"error\":\"x\"}\nnull\n[]\n{\"exit\":\"\xff\"}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := NewClient(&scripted{in: bytes.NewReader(data)}, func(exit string) {
			if exit == "" || len(exit) > maxExit {
				t.Errorf("exit %q", exit)
			}
		})
		if err := c.Call(t.Context(), Call{Freeze: true}); err == nil || errors.As(err, new(RefusedError)) {
			t.Errorf("a nonce was guessed: %v", err)
		}
		_ = c.Close()
	})
}
