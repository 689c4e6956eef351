//go:build linux

package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rundlet/rundlet/agent/account"
	"github.com/rundlet/rundlet/agent/metadata"
	"github.com/rundlet/rundlet/api/gen/envd/filesystempb"
)

// names turns ids into names, as the account files were when it was made.
type names struct{ user, group func(uint32) string }

func newNames(db *account.DB) names {
	user, group := db.Names()
	return names{user, group}
}

// entry describes what Lstat said about path.
func (n names) entry(path string, info os.FileInfo) *filesystempb.EntryInfo {
	e := &filesystempb.EntryInfo{
		// File names are bytes, protobuf strings are not.
		Name:         valid(filepath.Base(path)),
		Path:         valid(path),
		Type:         fileType(info.Mode()),
		Size:         info.Size(),
		Mode:         uint32(info.Mode().Perm()),
		Permissions:  info.Mode().String(),
		ModifiedTime: timestamppb.New(info.ModTime()),
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		e.Owner, e.Group = n.user(st.Uid), n.group(st.Gid)
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		describeLink(e, path)
	} else {
		e.Metadata = metadata.Read(path)
	}
	return e
}

// describeLink gives the entry of a link the type and the mode of what it leads to,
// and its path: older clients know links by the target only, newer ones by
// is_symlink. A link that leads nowhere has neither, and is its own target.
// Permissions, size and owner are the link's.
func describeLink(e *filesystempb.EntryInfo, path string) {
	e.IsSymlink = true
	e.Type, e.Mode = filesystempb.FileType_FILE_TYPE_UNSPECIFIED, 0
	end := path
	if target, err := filepath.EvalSymlinks(path); err == nil {
		if info, err := os.Lstat(target); err == nil {
			end, e.Type, e.Mode = target, fileType(info.Mode()), uint32(info.Mode().Perm())
		}
	}
	end = valid(end)
	e.SymlinkTarget = &end
}

func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// fileType is the type of a file that is not a link; links have that of their target.
func fileType(m fs.FileMode) filesystempb.FileType {
	switch {
	case m.IsDir():
		return filesystempb.FileType_FILE_TYPE_DIRECTORY
	case m.IsRegular():
		return filesystempb.FileType_FILE_TYPE_FILE
	}
	return filesystempb.FileType_FILE_TYPE_UNSPECIFIED
}

// walker collects the entries of a tree in lexical order.
type walker struct {
	ctx     context.Context
	names   names
	entries []*filesystempb.EntryInfo
}

// walk lists dir; what disappears meanwhile is left out.
func (w *walker) walk(dir string, depth int) error {
	if err := w.ctx.Err(); err != nil {
		return connect.NewError(connect.CodeCanceled, err)
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return wireError("directory", dir, err)
	}
	for _, d := range list {
		path := filepath.Join(dir, d.Name())
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return wireError("file", path, err)
		}
		if len(w.entries) == maxEntries {
			return connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("more than %d entries, list with a smaller depth", maxEntries))
		}
		w.entries = append(w.entries, w.names.entry(path, info))
		if !d.IsDir() || depth <= 1 {
			continue
		}
		if err := w.walk(path, depth-1); err != nil && connect.CodeOf(err) != connect.CodeNotFound {
			return err
		}
	}
	return nil
}
