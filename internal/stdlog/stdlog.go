// Package stdlog bounds what libraries write to the logger of package log. It imports x/time/rate and the standard
// library only.
package stdlog

import (
	"log"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

const (
	// every is the least time between two lines, and most how much of each is logged, in bytes.
	every = time.Second
	most  = 500
)

// Take logs what libraries write to the standard logger, at most a line a second, until end is called: guests and clients
// can cause such lines at will, such as that of net/http about an answer without a request.
func Take(to *slog.Logger) (end func()) {
	flags, w := log.Flags(), log.Writer()
	log.SetFlags(0)
	log.SetOutput(&lines{log: to, sometimes: rate.Sometimes{Interval: every}})
	return func() {
		log.SetOutput(w)
		log.SetFlags(flags)
	}
}

type lines struct {
	log       *slog.Logger
	sometimes rate.Sometimes
}

func (l *lines) Write(line []byte) (int, error) {
	l.sometimes.Do(func() {
		l.log.Warn("a library reports", "text", strings.TrimSpace(string(line[:min(len(line), most)])))
	})
	return len(line), nil
}
