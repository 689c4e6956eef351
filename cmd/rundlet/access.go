package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/rundlet/rundlet/e2b"
	"github.com/rundlet/rundlet/node/accesslog"
)

// accessToStdout is the value of --access-log for standard output.
const accessToStdout = "-"

// openAccessLog returns what writes the access log, and a function that ends it after the last request. SIGHUP reopens a file.
func openAccessLog(name string, stdout io.Writer, log *slog.Logger) (add func(e2b.Access), end func(), err error) {
	var l *accesslog.Log
	stop := func() {}
	if name == accessToStdout {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // Or one would end the daemon when the reader of a pipe ends.
		l = accesslog.To(stdout, log)
	} else {
		path, err := filepath.Abs(name)
		if err == nil {
			l, err = accesslog.Open(path, log)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("--access-log: %w", err)
		}
		stop = onHangUp(l.Reopen)
	}
	return l.Add, func() {
		stop()
		if err := l.Close(); err != nil {
			log.Error("access log not complete", "error", err)
		}
	}, nil
}

// onHangUp calls f at each SIGHUP, which ends the command no more, until stop is called. Then it is ignored.
func onHangUp(f func()) (stop func()) {
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Ignore(syscall.SIGHUP) // So that at no time one ends the process.
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		defer close(done)
		for range signals {
			f()
		}
	}()
	return func() {
		signal.Ignore(syscall.SIGHUP)
		signal.Stop(signals)
		close(signals)
		<-done
	}
}
