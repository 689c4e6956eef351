package main

import (
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/rundlet/rundlet/policy/hygiene"
	"github.com/rundlet/rundlet/rotate"
)

// logOptions configure the daemon's log.
type logOptions struct {
	level    slog.Level
	json     bool
	file     string
	rotation hygiene.Rotation
}

func (l *logOptions) flags(f *pflag.FlagSet) {
	l.rotation = hygiene.DefaultRotation()
	f.TextVar(&l.level, "log-level", slog.LevelInfo, "minimum log level: debug, info, warn, error")
	f.BoolVar(&l.json, "log-json", false, "write the log as JSON")
	f.StringVar(&l.file, "log-file", "", "write the log to this file, rotated and readable by its owner only (default standard error)")
	f.Int64Var(&l.rotation.MaxBytes, "log-max-bytes", l.rotation.MaxBytes, "size in bytes at which the log file is rotated")
	f.IntVar(&l.rotation.Generations, "log-generations", l.rotation.Generations, "rotated log files to keep, as FILE.1, FILE.2, ...; 0 keeps none")
}

// open returns the log and a function that closes it. Lines that cannot be written to
// the file, for example because the disk is full, go to stderr.
func (l *logOptions) open(stderr io.Writer) (log *slog.Logger, end func(), err error) {
	w, end := stderr, func() {}
	if l.file != "" {
		path, err := filepath.Abs(l.file)
		if err != nil {
			return nil, nil, fmt.Errorf("--log-file: %w", err)
		}
		file, err := rotate.Open(path, rotate.Options{Rotation: l.rotation, Fallback: stderr})
		if err != nil {
			return nil, nil, fmt.Errorf("--log-file: %w", err)
		}
		w, end = file, func() {
			closed := file.Close()
			for _, err := range []error{file.Err(), closed} {
				if err != nil {
					fmt.Fprintf(stderr, "rundlet: log: %v\n", err)
				}
			}
		}
	}
	opts := &slog.HandlerOptions{Level: l.level}
	if l.json {
		return slog.New(slog.NewJSONHandler(w, opts)), end, nil
	}
	return slog.New(slog.NewTextHandler(w, opts)), end, nil
}
