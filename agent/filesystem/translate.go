//go:build linux

package filesystem

import (
	"fmt"
	"os"
	"path/filepath"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/api/gen/envd/filesystempb"
)

// eventTypes are what clients get for an event of the kernel: what is renamed is
// gone from its old name, and created under the new one.
var eventTypes = []struct {
	mask uint32
	wire filesystempb.EventType
}{
	{unix.IN_CREATE | unix.IN_MOVED_TO, filesystempb.EventType_EVENT_TYPE_CREATE},
	{unix.IN_MODIFY, filesystempb.EventType_EVENT_TYPE_WRITE},
	{unix.IN_DELETE | unix.IN_DELETE_SELF, filesystempb.EventType_EVENT_TYPE_REMOVE},
	{unix.IN_MOVED_FROM | unix.IN_MOVE_SELF, filesystempb.EventType_EVENT_TYPE_RENAME},
	{unix.IN_ATTRIB, filesystempb.EventType_EVENT_TYPE_CHMOD},
}

// translate turns events of the kernel into those that clients get. With an error
// it returns all that could be translated.
func (t *tree) translate(batch []kernelEvent) (out []*filesystempb.FilesystemEvent, err error) {
	found := func(dir *node, name string) {
		if dir.found == nil {
			dir.found = map[string]bool{}
		}
		dir.found[name] = true
		out = append(out, t.events(dir, name, unix.IN_CREATE)...)
	}
	for _, ev := range batch {
		events, failed := t.apply(ev)
		out = append(out, events...)
		if failed == nil && ev.name != "" {
			failed = t.follow(ev, found)
		}
		if t.doubt {
			if again := t.rescan(found); failed == nil && !vanished(again) {
				failed = again
			}
		}
		if failed != nil && err == nil {
			err = connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("watch %s: %w", t.root, failed))
		}
	}
	return out, err
}

// apply returns the events that clients get for one of the kernel. It comes before
// follow: what a directory's end or rename means for names is true afterwards.
func (t *tree) apply(ev kernelEvent) ([]*filesystempb.FilesystemEvent, error) {
	n := t.dirs[ev.watch]
	switch {
	case ev.mask&unix.IN_Q_OVERFLOW != 0:
		t.doubt = true
		return nil, errOverflow
	case t.mark != 0 && ev.watch == t.mark && ev.mask&unix.IN_IGNORED != 0:
		t.marked()
		return nil, nil
	case n == nil:
		return nil, nil
	case ev.mask&(unix.IN_IGNORED|unix.IN_UNMOUNT) != 0:
		t.forget(n)
		return nil, nil
	case ev.name == "" && n != t.top:
		// The parent's events say the rest.
		if ev.mask&unix.IN_MOVE_SELF != 0 {
			t.moved(n)
		}
		return nil, nil
	case ev.name == "" && ev.mask&unix.IN_MOVE_SELF != 0:
		t.drop(n) // The place that was asked for has ended.
	}
	// A scan finds what is there; only what is made there is the same once more.
	again := n.found[ev.name] && ev.mask&unix.IN_CREATE != 0
	delete(n.found, ev.name)
	if again {
		return nil, nil
	}
	return t.events(n, ev.name, ev.mask), nil
}

// moved is called by a directory that was renamed.
func (t *tree) moved(n *node) {
	switch {
	case t.walked:
		t.again = true
	case n.cookie != 0:
		t.drop(n) // It left the tree.
	case t.unsettled[n] && n.at(n.parent, n.name):
		delete(t.unsettled, n)
	default:
		t.doubt = true // It is where another one was thought to be: they changed places.
	}
}

// follow keeps the tree as an event of a directory in it says.
func (t *tree) follow(ev kernelEvent, found entryFunc) error {
	n := t.dirs[ev.watch]
	if n == nil || !t.recursive || ev.mask&unix.IN_ISDIR == 0 {
		return nil
	}
	t.again = t.again || (t.walked || t.ahead || t.remark) && ev.mask&(unix.IN_MOVED_FROM|unix.IN_MOVED_TO) != 0
	if ev.mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0 && t.moving[ev.cookie] == nil {
		if err := t.scan(n, ev.name, found, false); err != nil && !vanished(err) {
			return fmt.Errorf("new directory %q: %w", ev.name, err)
		}
		return nil
	}
	if !t.walked {
		t.relocate(n, ev)
	}
	return nil
}

// relocate applies a rename or a removal of the directory that the event names.
func (t *tree) relocate(n *node, ev kernelEvent) {
	c := n.children[ev.name]
	switch m := t.moving[ev.cookie]; {
	case ev.mask&unix.IN_MOVED_FROM != 0 && c != nil:
		c.detach()
		c.cookie = ev.cookie
		t.moving[ev.cookie] = c
		t.unsettle(c)
	case ev.mask&unix.IN_DELETE != 0 && c != nil:
		t.drop(c)
	case ev.mask&unix.IN_MOVED_TO != 0 && n.below(m):
		t.doubt = true // A directory cannot be in itself.
	case ev.mask&unix.IN_MOVED_TO != 0:
		delete(t.moving, ev.cookie)
		if c != nil {
			t.unsettle(c) // It was replaced, or changes places.
		}
		m.place(n, ev.name)
	}
}

// events are those of an entry of dir, or of dir itself.
func (t *tree) events(dir *node, name string, mask uint32) (out []*filesystempb.FilesystemEvent) {
	if name == "" {
		name = "."
	}
	path, ok := dir.path(name)
	if !ok {
		return nil
	}
	for _, et := range eventTypes {
		if mask&et.mask == 0 {
			continue
		}
		ev := &filesystempb.FilesystemEvent{Name: valid(path), Type: et.wire}
		if t.entries && mask&(unix.IN_DELETE|unix.IN_DELETE_SELF|unix.IN_MOVED_FROM|unix.IN_MOVE_SELF) == 0 {
			full := filepath.Join(t.root, path)
			if info, err := os.Lstat(full); err == nil {
				ev.Entry = t.names().entry(full, info)
			}
		}
		out = append(out, ev)
	}
	return out
}
