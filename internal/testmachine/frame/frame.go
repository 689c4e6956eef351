// Package frame carries the output of a program in a test machine, and how it ended, over
// one stream of bytes such as a serial port. Each frame has a checksum, so that a stray
// line of a kernel or a lost byte is an error and not output. It imports the standard
// library only; the program in the machine and the one that started it may import it.
package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Kind says what a frame holds.
type Kind byte

const (
	// Output is what the program wrote, to standard output or standard error.
	Output Kind = 'o'
	// Exit is the program's exit code in decimal. It is the last frame.
	Exit Kind = 'x'
	// Failure says why the machine could not run the program. It is the last frame.
	Failure Kind = 'f'
)

// Most is the largest frame that Write writes and Read accepts, in bytes.
const Most = 1 << 16

const (
	magic      = "RLTM"
	headerSize = len(magic) + 1 + 4 + 4
)

// ErrDamaged is returned by Read for a stream that holds something else than frames.
var ErrDamaged = errors.New("damaged frame")

// Write writes one frame in one call of w.Write.
func Write(w io.Writer, kind Kind, payload []byte) error {
	if len(payload) > Most {
		return fmt.Errorf("a frame holds at most %d bytes, got %d", Most, len(payload))
	}
	all := make([]byte, 0, headerSize+len(payload))
	all = append(append(all, magic...), byte(kind))
	all = binary.BigEndian.AppendUint32(all, uint32(len(payload)))
	all = binary.BigEndian.AppendUint32(all, sum(kind, payload))
	_, err := w.Write(append(all, payload...))
	return err
}

// Read reads one frame. The error is io.EOF at the end of the stream, io.ErrUnexpectedEOF
// in the middle of a frame, and wraps ErrDamaged for anything but a frame.
func Read(r io.Reader) (Kind, []byte, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	if string(header[:len(magic)]) != magic {
		return 0, nil, fmt.Errorf("%w: it begins with %q", ErrDamaged, header[:])
	}
	kind, size := Kind(header[len(magic)]), binary.BigEndian.Uint32(header[len(magic)+1:])
	if size > Most {
		return 0, nil, fmt.Errorf("%w: a size of %d bytes", ErrDamaged, size)
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(r, payload); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	if sum(kind, payload) != binary.BigEndian.Uint32(header[len(magic)+5:]) {
		return 0, nil, fmt.Errorf("%w: the checksum of %d bytes is wrong", ErrDamaged, size)
	}
	return kind, payload, nil
}

func sum(kind Kind, payload []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE([]byte{byte(kind)}), crc32.IEEETable, payload)
}

// Writer writes everything as frames of Output.
type Writer struct{ To io.Writer }

// Write never writes a part of a frame.
func (w Writer) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		part := p[:min(len(p), Most)]
		if err := Write(w.To, Output, part); err != nil {
			return n, err
		}
		n, p = n+len(part), p[len(part):]
	}
	return n, nil
}
