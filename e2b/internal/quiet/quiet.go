// Package quiet copies streams that are silent most of the time, such as WebSockets, without much memory for each. It imports the
// standard library only.
package quiet

import (
	"io"
	"sync"
)

const (
	// silent is what a copy holds while it waits for data: most messages fit into it.
	silent = 4 << 10
	// busy is what it borrows while more data comes than that.
	busy = 32 << 10
)

var buffers = sync.Pool{New: func() any { return new([busy]byte) }}

// Copy copies until the end of from, or until an error, and returns the bytes written. It uses Read and Write only.
func Copy(to io.Writer, from io.Reader) (written int64, err error) {
	small := make([]byte, silent)
	for {
		filled, err := pass(to, from, small, &written)
		if filled && err == nil {
			err = burst(to, from, &written)
		}
		if err == io.EOF { //nolint:errorlint // As io.Copy compares it.
			return written, nil
		}
		if err != nil {
			return written, err
		}
	}
}

// burst copies with a large buffer for as long as that is filled.
func burst(to io.Writer, from io.Reader, written *int64) error {
	large := buffers.Get().(*[busy]byte)
	defer buffers.Put(large)
	for {
		filled, err := pass(to, from, large[:], written)
		if !filled || err != nil {
			return err
		}
	}
}

// pass copies what one Read returns, and reports whether it filled the buffer.
func pass(to io.Writer, from io.Reader, buffer []byte, written *int64) (filled bool, err error) {
	n, err := from.Read(buffer)
	if n > 0 {
		w, failed := to.Write(buffer[:n])
		*written += int64(w)
		switch {
		case failed != nil:
			return false, failed
		case w != n:
			return false, io.ErrShortWrite
		}
	}
	return n == len(buffer), err
}
