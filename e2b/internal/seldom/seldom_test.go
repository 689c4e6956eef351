package seldom

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A million requests do not write a million lines.
func TestWarningsAreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := New(slog.New(slog.NewTextHandler(&out, nil)))
		for range 1000 {
			s.Warn("one", "n", 1)
		}
		s.Warn("other")
		if n := strings.Count(out.String(), "\n"); n != 2 {
			t.Errorf("%d lines:\n%s", n, &out)
		}
		time.Sleep(logEvery)
		s.Warn("one", "n", 2)
		if !strings.Contains(out.String(), "n=2 left_out=999") {
			t.Errorf("omissions are not reported:\n%s", &out)
		}
	})
}
