//go:build linux

package files

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"
)

// turns lets one upload at a time write a file, under whatever path each names it.
type turns struct {
	mu    sync.Mutex
	files map[fileID]*turn
}

// fileID identifies a file.
type fileID struct{ device, inode uint64 }

// turn is there while somebody has it or waits for it.
type turn struct {
	id    fileID
	users int
	// upload is full while somebody writes: for as long as a client sends, where it
	// goes into the file at once.
	upload chan struct{}
	// content is held for the two calls that replace a small file, and by calls that
	// read one.
	content sync.RWMutex
}

func newTurns() *turns { return &turns{files: map[fileID]*turn{}} }

func idOf(info os.FileInfo) fileID {
	st, _ := info.Sys().(*syscall.Stat_t)
	return fileID{uint64(st.Dev), st.Ino}
}

func (ts *turns) join(id fileID) *turn {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t := ts.files[id]
	if t == nil {
		t = &turn{id: id, upload: make(chan struct{}, 1)}
		ts.files[id] = t
	}
	t.users++
	return t
}

func (ts *turns) leave(t *turn) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t.users--; t.users == 0 {
		delete(ts.files, t.id)
	}
}

// wait returns when it is the caller's turn to write; release must be called.
func (ts *turns) wait(ctx context.Context, id fileID) (t *turn, release func(), err error) {
	t = ts.join(id)
	select {
	case t.upload <- struct{}{}:
		return t, func() { <-t.upload; ts.leave(t) }, nil
	case <-ctx.Done():
		ts.leave(t)
		return nil, nil, fmt.Errorf("wait for another upload of this file: %w", ctx.Err())
	}
}

// reading keeps small uploads of the file away until done is called.
func (ts *turns) reading(id fileID) (done func()) {
	t := ts.join(id)
	t.content.RLock()
	return func() { t.content.RUnlock(); ts.leave(t) }
}
