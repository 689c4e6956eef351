package stdlog

import (
	"bytes"
	"log"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLinesOfLibrariesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out, before bytes.Buffer
		log.SetOutput(&before)
		end := Take(slog.New(slog.NewTextHandler(&out, nil)))
		for range 3 {
			for range 1000 {
				log.Print("Unsolicited response\non an idle channel", strings.Repeat("x", 1000))
			}
			time.Sleep(every)
		}
		end()
		log.Print("not ours")
		if lines := strings.Count(out.String(), "\n"); lines != 3 || out.Len() > 3*(most+200) || !strings.Contains(out.String(), "Unsolicited response") {
			t.Errorf("%d lines: %.2000s", lines, out.String())
		}
		if text := before.String(); !strings.Contains(text, "not ours") || strings.Contains(text, "Unsolicited") {
			t.Errorf("the former output has %.200q", text)
		}
	})
}
