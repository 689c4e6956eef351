package crashdisk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// blockSize is what is written or lost as one: the block of the file system that
// is put on the disk.
const blockSize = 4096

// errFrozen refuses a write to a disk that is being replayed.
var errFrozen = errors.New("the disk is frozen: it is being replayed")

// device is a disk: a Log, or a View of one.
type device interface {
	io.ReaderAt
	io.WriterAt
	Flush() error
}

// entry is a write of whole blocks, or a flush.
type entry struct {
	flush bool
	block int64 // first block of a write
	count int64 // blocks
	data  int64 // offset in Log.data
}

// Log is a disk that remembers every write and every flush in their order. Its
// content at any cut can be had by View once all was written. It is safe for
// concurrent use.
type Log struct {
	base io.ReaderAt // content before the first write; never changed
	size int64

	mu      sync.Mutex
	data    *os.File // what was written, one block after the other
	end     int64    // of data
	entries []entry
	current map[int64]int64 // block: offset in data

	frozen  int64           // end of the recorded data; 0 until the first view
	viewing *View           // the newest view
	stable  map[int64]int64 // as current, of entries[:upto]
	upto    int
}

// NewLog records what is written over base, whose size is a multiple of
// the block size, into the empty file data.
func NewLog(base io.ReaderAt, size int64, data *os.File) *Log {
	return &Log{base: base, size: size, data: data, current: map[int64]int64{}, stable: map[int64]int64{}}
}

// Position returns the number of writes and flushes so far. A cut at a position
// is one after so many of them.
func (l *Log) Position() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}

// String lists the entries, one a line: the number of bytes written, or "flush".
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	for _, e := range l.entries {
		if e.flush {
			b.WriteString("flush\n")
		} else {
			fmt.Fprintln(&b, e.count*blockSize)
		}
	}
	return b.String()
}

// ReadAt reads what was written last.
func (l *Log) ReadAt(p []byte, off int64) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.read(p, off, l.current)
}

// read fills p from the first of the layers that has each block, then from the
// base. The caller holds l.mu.
func (l *Log) read(p []byte, off int64, layers ...map[int64]int64) (n int, err error) {
	p = p[:min(int64(len(p)), max(0, l.size-off))]
	for n < len(p) {
		block, within := (off+int64(n))/blockSize, (off+int64(n))%blockSize
		part := p[n:min(len(p), n+int(blockSize-within))]
		from, at := l.base, off+int64(n)
		for _, layer := range layers {
			if data, ok := layer[block]; ok {
				from, at = l.data, data+within
				break
			}
		}
		m, err := from.ReadAt(part, at)
		n += m
		if m < len(part) {
			return n, err
		}
	}
	return n, nil
}

// WriteAt appends a write.
func (l *Log) WriteAt(p []byte, off int64) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.frozen != 0 {
		return 0, errFrozen
	}
	e, err := l.append(p, off, l.current)
	if err != nil {
		return 0, err
	}
	l.entries = append(l.entries, e)
	return len(p), nil
}

// append writes p, filled up to whole blocks from the layers, to the end of data
// and makes the first layer point to it. The caller holds l.mu.
func (l *Log) append(p []byte, off int64, layers ...map[int64]int64) (entry, error) {
	if off < 0 || off+int64(len(p)) > l.size {
		return entry{}, fmt.Errorf("write of %d bytes at %d: the disk has %d", len(p), off, l.size)
	}
	first, last := off/blockSize, (off+int64(len(p))+blockSize-1)/blockSize
	e := entry{block: first, count: last - first, data: l.end}
	whole := p
	if off%blockSize != 0 || int64(len(p))%blockSize != 0 {
		whole = make([]byte, e.count*blockSize)
		if _, err := l.read(whole, first*blockSize, layers...); err != nil {
			return e, err
		}
		copy(whole[off%blockSize:], p)
	}
	if _, err := l.data.WriteAt(whole, l.end); err != nil {
		return e, err
	}
	l.end += int64(len(whole))
	e.apply(layers[0])
	return e, nil
}

func (e entry) apply(layer map[int64]int64) {
	for i := range e.count {
		layer[e.block+i] = e.data + i*blockSize
	}
}

// Flush makes all earlier writes durable.
func (l *Log) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.frozen != 0 {
		return errFrozen
	}
	l.entries = append(l.entries, entry{flush: true})
	return nil
}
