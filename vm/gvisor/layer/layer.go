//go:build linux

// Package layer carries what a sandbox process writes into a pipe to where it is wanted. It imports the standard library only.
package layer

import (
	"context"
	"errors"
	"io"
	"os"
)

// Copy gives write one end of a pipe, which it may hand to another process, and copies to w what comes out of the other. It returns when w has all,
// or has failed, or when ctx has ended: then write may still go on, and what it writes fails. The error of w counts more than that of write.
func Copy(ctx context.Context, w io.Writer, write func(out *os.File) error) error {
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(w, in)
		in.Close() // If w has failed, nothing must wait for it.
		copied <- err
	}()
	err = write(out)
	out.Close() // Another process has its own.
	if ctx.Err() != nil {
		in.Close() // It may still write.
	}
	if failed := <-copied; failed != nil && ctx.Err() == nil && !errors.Is(failed, os.ErrClosed) {
		return failed
	}
	return err
}
