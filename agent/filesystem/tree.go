//go:build linux

package filesystem

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"connectrpc.com/connect"
	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/api/gen/envd/filesystempb"
)

// tree watches one directory and, if recursive, all below it.
type tree struct {
	root      string
	recursive bool
	entries   bool
	names     func() names
	fs        *fsnotify.Watcher
	// found are paths that were reported when their new directory was scanned;
	// the kernel may report their creation as well.
	found map[string]bool
	once  sync.Once
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
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("create watcher: %w", err))
	}
	t := &tree{
		root: root, recursive: recursive, entries: entries, fs: w, found: map[string]bool{},
		names: func() names { return newNames(s.state.Accounts()) },
	}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	if !recursive {
		err = w.Add(root)
	} else {
		err = t.addTree(root, nil)
	}
	if err != nil {
		if errors.Is(err, unix.ENOSPC) {
			return nil, connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("watch %s: too many watches: %w", path, err))
		}
		return nil, wireError("directory", path, err)
	}
	return t, nil
}

func (t *tree) close() { t.once.Do(func() { _ = t.fs.Close() }) }

// addTree watches dir and every directory below it. It calls found for what is
// in them; directories that disappear meanwhile are no error.
func (t *tree) addTree(dir string, found func(path string)) error {
	// The watch comes before the listing: nothing can fall between the two.
	if err := t.fs.Add(dir); err != nil {
		return err
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, d := range list {
		path := filepath.Join(dir, d.Name())
		if found != nil {
			found(path)
		}
		if !d.IsDir() {
			continue
		}
		if err := t.addTree(path, found); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

var eventTypes = []struct {
	op   fsnotify.Op
	wire filesystempb.EventType
}{
	{fsnotify.Create, filesystempb.EventType_EVENT_TYPE_CREATE},
	{fsnotify.Write, filesystempb.EventType_EVENT_TYPE_WRITE},
	{fsnotify.Remove, filesystempb.EventType_EVENT_TYPE_REMOVE},
	{fsnotify.Rename, filesystempb.EventType_EVENT_TYPE_RENAME},
	{fsnotify.Chmod, filesystempb.EventType_EVENT_TYPE_CHMOD},
}

// translate turns one kernel event into the events that clients get.
func (t *tree) translate(ev fsnotify.Event) ([]*filesystempb.FilesystemEvent, error) {
	var out []*filesystempb.FilesystemEvent
	for _, et := range eventTypes {
		if !ev.Has(et.op) {
			continue
		}
		if et.op == fsnotify.Create && t.found[ev.Name] {
			delete(t.found, ev.Name)
			continue
		}
		delete(t.found, ev.Name)
		out = append(out, t.event(ev.Name, et.wire))
	}
	if !t.recursive || !ev.Has(fsnotify.Create) {
		return out, nil
	}
	if info, err := os.Lstat(ev.Name); err != nil || !info.IsDir() {
		return out, nil
	}
	err := t.addTree(ev.Name, func(path string) {
		t.found[path] = true
		out = append(out, t.event(path, filesystempb.EventType_EVENT_TYPE_CREATE))
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return out, connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("watch new directory %s: %w", ev.Name, err))
	}
	return out, nil
}

func (t *tree) event(path string, kind filesystempb.EventType) *filesystempb.FilesystemEvent {
	name, err := filepath.Rel(t.root, path)
	if err != nil {
		name = path
	}
	ev := &filesystempb.FilesystemEvent{Name: valid(name), Type: kind}
	gone := kind == filesystempb.EventType_EVENT_TYPE_REMOVE || kind == filesystempb.EventType_EVENT_TYPE_RENAME
	if t.entries && !gone {
		if info, err := os.Lstat(path); err == nil {
			ev.Entry = t.names().entry(path, info)
		}
	}
	return ev
}
