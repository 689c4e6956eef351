package claim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/policy/snapshot"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

const (
	// believedFor is how long files that were read are believed to be as they
	// were while nothing changes them through the file system. A bit that the disk
	// loses without a write shows in the next real read only.
	believedFor = 10 * time.Minute
	// maxReaders is how many snapshots are read at the same time: it is work for
	// a processor and a disk that running sandboxes use.
	maxReaders = 2
)

// verifier knows the contents of the files of snapshots. It reads a snapshot once for
// all concurrent requests, and again only when a file may have changed or
// was read too long ago. Safe for concurrent use.
type verifier struct {
	bg    Background
	slots chan struct{}
	reads atomic.Uint64 // how often a snapshot was read

	mu      sync.Mutex
	entries map[string]held // by artifact
	reading map[string]*readJob
	told    map[string]string // the damage that was logged, by artifact
}

// held is the known state of one snapshot.
type held struct {
	states map[string]fileState
	// sums are nil as long as it was saved by this process and never read.
	sums   map[string]snapshot.Sum
	readAt time.Time
	// matches is the manifest that the sums are known to match: to decode it takes
	// longer than to look at the files.
	matches string
}

// readJob is one read of a snapshot that its waiters share. It is broken off
// when the last of them leaves.
type readJob struct {
	done    chan struct{}
	sums    map[string]snapshot.Sum
	err     error
	waiters int
	cancel  context.CancelFunc
}

func newVerifier(bg Background) *verifier {
	return &verifier{
		bg: bg, slots: make(chan struct{}, maxReaders),
		entries: map[string]held{}, reading: map[string]*readJob{}, told: map[string]string{},
	}
}

// saved remembers the files of a snapshot as they are now, just after they were
// saved. A change before their digests are known is damage.
func (v *verifier) saved(key string, files []vm.SnapshotFile) {
	states, err := statesOf(files)
	if err != nil {
		return // It is found when they are read.
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.entries[key] = held{states: states}
}

// asSaved reports, as damage, a change of files whose digests are not known yet.
func (v *verifier) asSaved(key string, files []vm.SnapshotFile) error {
	now, err := statesOf(files)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for name, was := range v.entries[key].states {
		if !was.sameContent(now[name]) {
			return changedSinceSaved(name)
		}
	}
	return nil
}

func changedSinceSaved(name string) error {
	return &snapshot.DamagedError{File: name, How: "was changed after it was saved"}
}

// forget is for a snapshot that was deleted.
func (v *verifier) forget(key string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.entries, key)
	delete(v.told, key)
}

// doubt makes the next contents read the files again.
func (v *verifier) doubt(key string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e, ok := v.entries[key]; ok {
		e.readAt = time.Time{}
		v.entries[key] = e
	}
}

// tell reports whether this damage was not logged yet.
func (v *verifier) tell(key, damage string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	fresh := v.told[key] != damage
	v.told[key] = damage
	return fresh
}

// compare compares the contents of the files with the manifest.
func (v *verifier) compare(ctx context.Context, key, manifest string, files []vm.SnapshotFile) error {
	sums, err := v.contents(ctx, key, files)
	if err != nil {
		return err
	}
	known := func() (held, bool) {
		e := v.entries[key]
		return e, maps.Equal(e.sums, sums)
	}
	v.mu.Lock()
	e, same := known()
	v.mu.Unlock()
	if same && e.matches == manifest {
		return nil
	}
	m, err := snapshot.Decode([]byte(manifest))
	if err != nil {
		return fmt.Errorf("%w: %w", vm.ErrIncompatible, err)
	}
	if err := snapshot.Verify(m.Files, sums); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if e, same := known(); same {
		e.matches = manifest
		v.entries[key] = e
	}
	return nil
}

// contents returns the sums of the files of a snapshot. A file
// that is missing, has another length than the driver says, or changed between
// its save and its first read is a *snapshot.DamagedError.
func (v *verifier) contents(ctx context.Context, key string, files []vm.SnapshotFile) (map[string]snapshot.Sum, error) {
	for {
		now, err := statesOf(files)
		if err != nil {
			return nil, err
		}
		v.mu.Lock()
		e := v.entries[key]
		if e.sums != nil && time.Since(e.readAt) < believedFor && maps.Equal(e.states, now) {
			v.mu.Unlock()
			return e.sums, nil
		}
		job, joined := v.reading[key]
		if !joined {
			if job = v.begin(key, files); job == nil {
				v.mu.Unlock()
				return nil, fmt.Errorf("%w: the daemon is shutting down", sandbox.ErrUnavailable)
			}
		}
		job.waiters++
		v.mu.Unlock()
		if err := v.wait(ctx, job); err != nil {
			return nil, err
		}
		if !joined || job.err != nil && !errors.Is(job.err, context.Canceled) {
			return job.sums, job.err
		}
		// It may have read a file before that was changed.
	}
}

// wait waits for a read under way.
func (v *verifier) wait(ctx context.Context, job *readJob) (err error) {
	select {
	case <-job.done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if job.waiters--; job.waiters == 0 {
		job.cancel()
	}
	return err
}

// begin must be called with mu held. It returns nil if the daemon is closing.
func (v *verifier) begin(key string, files []vm.SnapshotFile) *readJob {
	ctx, cancel := context.WithCancel(v.bg.Context())
	job := &readJob{done: make(chan struct{}), cancel: cancel}
	known := v.entries[key]
	if !v.bg.Go(func() {
		defer cancel()
		states, sums, err := v.read(ctx, files, known)
		v.mu.Lock()
		defer v.mu.Unlock()
		if err == nil {
			v.entries[key] = held{states: states, sums: sums, readAt: time.Now()}
		}
		job.sums, job.err = sums, err
		delete(v.reading, key)
		close(job.done)
	}) {
		cancel()
		return nil
	}
	v.reading[key] = job
	return job
}

func (v *verifier) read(ctx context.Context, files []vm.SnapshotFile, known held) (map[string]fileState, map[string]snapshot.Sum, error) {
	select {
	case v.slots <- struct{}{}:
		defer func() { <-v.slots }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	v.reads.Add(1)
	states, sums := map[string]fileState{}, map[string]snapshot.Sum{}
	for _, f := range files {
		was, ok := known.states[f.Name]
		state, sum, err := readFile(ctx, f, known.sums[f.Name])
		if err != nil {
			return nil, nil, err
		}
		if ok && known.sums == nil && !was.sameContent(state) {
			return nil, nil, changedSinceSaved(f.Name)
		}
		states[f.Name], sums[f.Name] = state, sum
	}
	return states, sums, nil
}

// readFile returns the sum of a file, and its state from before it was read. A
// file that still holds what it did when it was last read costs a fast pass.
func readFile(ctx context.Context, f vm.SnapshotFile, last snapshot.Sum) (fileState, snapshot.Sum, error) {
	fail := func(err error) (fileState, snapshot.Sum, error) {
		return fileState{}, snapshot.Sum{}, unreadable(f.Name, err)
	}
	file, err := os.Open(f.Path)
	if err != nil {
		return fail(err)
	}
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return fail(err)
	}
	state := stateOf(&st)
	if state.size != f.Bytes {
		return state, snapshot.Sum{}, &snapshot.DamagedError{File: f.Name, How: fmt.Sprintf("has %d bytes, not %d", state.size, f.Bytes)}
	}
	if last.SHA256 != "" {
		same, err := last.Holds(whileAlive{ctx, file})
		if err != nil {
			return fail(err)
		}
		if same {
			return state, last, nil
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return fail(err)
		}
	}
	sum, err := snapshot.Digest(io.LimitReader(whileAlive{ctx, file}, f.Bytes+1))
	if err != nil {
		return fail(err)
	}
	return state, sum, nil
}

type whileAlive struct {
	ctx context.Context
	r   io.Reader
}

func (w whileAlive) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.r.Read(p)
}

// unreadable: only a file that is missing is proof of damage.
func unreadable(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return snapshot.MissingFile(name)
	}
	return fmt.Errorf("read %s of a snapshot: %w", name, err)
}

// fileState changes with every change of a file that goes through the file
// system: setting the times back changes ctime.
type fileState struct {
	device, inode uint64
	size          int64
	mtime, ctime  int64 // in nanoseconds
}

// sameContent leaves out ctime, which a new name or another owner changes too.
func (s fileState) sameContent(o fileState) bool {
	s.ctime, o.ctime = 0, 0
	return s == o
}

func stateOf(st *unix.Stat_t) fileState {
	return fileState{uint64(st.Dev), st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()}
}

func statesOf(files []vm.SnapshotFile) (map[string]fileState, error) {
	out := make(map[string]fileState, len(files))
	for _, f := range files {
		var st unix.Stat_t
		if err := unix.Stat(f.Path, &st); err != nil {
			return nil, unreadable(f.Name, err)
		}
		out[f.Name] = stateOf(&st)
	}
	return out, nil
}
