//go:build linux

package filesystem

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"
)

// maxDirectories bounds the directories of one watch.
const maxDirectories = 1 << 19

var (
	errOverflow = errors.New("events were lost: the kernel's queue was full")
	errTooMany  = fmt.Errorf("more than %d directories: %w", maxDirectories, unix.ENOSPC)
)

// tree watches one directory and, if recursive, all below it. Only the goroutine
// that translates uses what is in it.
//
// The kernel reports a rename as MOVED_FROM and MOVED_TO with one cookie, each to
// the directory that it concerns, and then as MOVE_SELF to the directory that was
// renamed. A MOVE_SELF without a MOVED_TO says that it left the tree.
//
// A watch is set some time after its directory was made, so what is known can be
// ahead of the events. A rename that falls into that time, up to a mark that was
// put into the queue after the watch, is not to be relied on: the tree is walked
// when the mark comes back. So it is where a rename is unsettled: the renamed
// directory's own event is missing. What is older than the end of a walk is not
// applied any more, but makes a walk due at the next mark.
type tree struct {
	root      string
	recursive bool
	entries   bool
	names     func() names
	kernel    *inotify
	top       *node
	dirs      map[int32]*node
	moving    map[uint32]*node // By cookie.
	unsettled map[*node]bool
	walk      int   // See node.seen.
	mark      int32 // The watch of the mark in the queue; 0 is none.
	remark    bool  // Another mark is due when this one comes back.
	ahead     bool  // Watches were set after what comes up to the mark,
	walked    bool  // or the whole tree was walked.
	again     bool  // A walk is due at the mark,
	doubt     bool  // or at once.
}

// networkFS are the file systems whose events come from elsewhere.
var networkFS = map[uint32]bool{
	unix.NFS_SUPER_MAGIC:  true,
	unix.SMB_SUPER_MAGIC:  true,
	unix.CIFS_SUPER_MAGIC: true,
	unix.SMB2_SUPER_MAGIC: true,
	unix.FUSE_SUPER_MAGIC: true,
}

// watch begins to watch; the caller must close the tree.
func (s *Service) watch(path string, recursive, entries, network bool) (_ *tree, err error) {
	if err := checkDir(path); err != nil {
		return nil, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err == nil && networkFS[uint32(st.Type)] && !network {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("cannot watch path on network filesystem: %s", path))
	}
	// A link at the root is followed; names stay relative to what was asked.
	root, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, wireError("directory", path, err)
	}
	k, err := newInotify()
	if err != nil {
		return nil, connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("create watcher: %w", err))
	}
	t := newTree(root, k)
	t.recursive, t.entries = recursive, entries
	t.names = func() names { return newNames(s.state.Accounts()) }
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	if t.top.watch, err = k.add(root); err == nil {
		t.dirs[t.top.watch] = t.top
		err = t.rescan(nil)
	}
	if err != nil {
		if errors.Is(err, unix.ENOSPC) {
			return nil, connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("watch %s: too many watches: %w", path, err))
		}
		return nil, wireError("directory", path, err)
	}
	return t, nil
}

func newTree(root string, k *inotify) *tree {
	return &tree{root: root, kernel: k, top: &node{}, dirs: map[int32]*node{}, moving: map[uint32]*node{}, unsettled: map[*node]bool{}}
}

func (t *tree) close() { t.kernel.close() }

// entryFunc is called for an entry that a scan found.
type entryFunc func(dir *node, name string)

// rescan walks the whole tree and puts every directory where it is. Directories
// that are not there any more are forgotten.
func (t *tree) rescan(found entryFunc) error {
	t.doubt, t.again = false, false
	if !t.recursive {
		return nil
	}
	t.walk++
	clear(t.moving) // Each is placed or dropped.
	clear(t.unsettled)
	t.top.seen = t.walk
	if err := t.list(t.top, "", entryFuncs{deeper: found}, true); err != nil {
		return err
	}
	for _, n := range t.dirs {
		if n.seen != t.walk {
			t.drop(n)
		}
	}
	t.walked = t.putMark()
	t.ahead, t.remark = false, false
	return nil
}

// putMark puts a new mark behind all that happened until now.
func (t *tree) putMark() bool {
	mark, err := t.kernel.mark()
	if err != nil {
		mark = 0 // None is in the queue: the next one is tried again.
	}
	t.mark = mark
	return err == nil
}

// marked is called when the mark comes back.
func (t *tree) marked() {
	t.doubt = t.again || len(t.unsettled) > 0
	t.ahead = t.remark && !t.doubt && t.putMark()
	t.remark, t.walked = false, false
	if !t.ahead {
		t.mark = 0
	}
}

// watchedLate waits for a mark behind all that came before a watch was set.
func (t *tree) watchedLate() {
	if t.mark != 0 {
		t.remark = true
		return
	}
	t.ahead = t.putMark()
}

// unsettle waits for a word of n itself, up to the next mark.
func (t *tree) unsettle(n *node) {
	t.unsettled[n] = true
	if t.mark == 0 {
		t.putMark()
	}
}

// scan watches a directory and all below it. Entries of directories that were not
// watched before are found.
func (t *tree) scan(parent *node, name string, found entryFunc, walking bool) error {
	path, ok := parent.path(name)
	if !ok {
		return unix.ENAMETOOLONG
	}
	// The watch comes before the listing: nothing can fall between the two.
	watch, err := t.kernel.add(filepath.Join(t.root, path))
	if err != nil {
		if !walking {
			t.watchedLate() // It is gone, or its parent was renamed since.
		}
		return err
	}
	n, known := t.dirs[watch]
	switch {
	case known && (n == t.top || n.seen == t.walk && walking):
		return nil // Seen by another path: a bind mount.
	case known && !walking:
		elsewhere := !n.at(parent, name)
		t.again = t.again || elsewhere
		t.doubt = t.doubt || elsewhere && !t.walked
		return nil
	case !known && len(t.dirs) >= maxDirectories:
		t.kernel.remove(watch)
		return errTooMany
	case !known:
		n = &node{watch: watch}
		t.dirs[watch] = n
		if !walking {
			t.watchedLate()
		}
	}
	n.seen = t.walk
	n.place(parent, name)
	if known {
		return t.list(n, path, entryFuncs{deeper: found}, walking) // What is new in it is in the queue.
	}
	return t.list(n, path, entryFuncs{here: found, deeper: found}, walking)
}

// entryFuncs are for the entries of one directory, and for those of new ones below.
type entryFuncs struct{ here, deeper entryFunc }

// list scans what is in a directory; what disappears meanwhile is not an error.
func (t *tree) list(n *node, path string, found entryFuncs, walking bool) error {
	list, err := os.ReadDir(filepath.Join(t.root, path))
	if err != nil {
		if n != t.top && vanished(err) {
			t.drop(n)
		}
		return err
	}
	for _, d := range list {
		if found.here != nil {
			found.here(n, d.Name())
		}
		if !d.IsDir() {
			continue
		}
		if err := t.scan(n, d.Name(), found.deeper, walking); err != nil && !vanished(err) {
			return err
		}
	}
	return nil
}

// vanished reports whether err means that the directory no longer exists, or that its
// path is too long for any program: a directory that is nested too deep does not end
// the watch of the others.
func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ENAMETOOLONG)
}

// drop ends the watches of a directory and of all below it.
func (t *tree) drop(n *node) {
	for _, c := range n.children {
		t.drop(c)
	}
	t.kernel.remove(n.watch)
	t.forget(n)
}

// forget is for a directory that the kernel watches no longer.
func (t *tree) forget(n *node) {
	n.detach()
	delete(t.dirs, n.watch)
	delete(t.unsettled, n)
	if t.moving[n.cookie] == n {
		delete(t.moving, n.cookie)
	}
}
