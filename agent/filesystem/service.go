//go:build linux

// Package filesystem serves envd's filesystem.Filesystem: it looks at, moves,
// removes and watches guest files with the rights of root. It may import the
// agent's other leaf packages and the generated API; only agent imports it.
package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"connectrpc.com/connect"

	"github.com/rundlet/rundlet/agent/account"
	"github.com/rundlet/rundlet/agent/move"
	"github.com/rundlet/rundlet/agent/owned"
	"github.com/rundlet/rundlet/agent/sandbox"
	"github.com/rundlet/rundlet/api/gen/envd/filesystempb"
	"github.com/rundlet/rundlet/api/gen/envd/filesystempb/filesystempbconnect"
)

// maxEntries bounds one listing.
const maxEntries = 200_000

// Service implements the RPCs.
type Service struct {
	state    *sandbox.State
	watchers *watchers
}

var _ filesystempbconnect.FilesystemHandler = (*Service)(nil)

// New returns a Service.
func New(state *sandbox.State) *Service {
	return &Service{state: state, watchers: newWatchers()}
}

// Close ends the watchers that clients left behind.
func (s *Service) Close() { s.watchers.close() }

// locate returns the user of a request and a path made absolute for it.
func (s *Service) locate(req connect.AnyRequest, path string) (account.User, string, error) {
	u, err := s.state.RequestUser(req.Header())
	if err != nil {
		var unknown *sandbox.UserError
		if errors.As(err, &unknown) {
			return u, "", connect.NewError(connect.CodeUnauthenticated, unknown)
		}
		return u, "", connect.NewError(connect.CodeInternal, err)
	}
	p, err := s.state.Path(path, u)
	if err != nil {
		return u, "", connect.NewError(connect.CodeInvalidArgument, err)
	}
	return u, p, nil
}

// Stat describes a path; of a link the type and mode are the target's.
func (s *Service) Stat(_ context.Context, req *connect.Request[filesystempb.StatRequest]) (*connect.Response[filesystempb.StatResponse], error) {
	_, path, err := s.locate(req, req.Msg.GetPath())
	if err != nil {
		return nil, err
	}
	entry, err := s.entry(path)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&filesystempb.StatResponse{Entry: entry}), nil
}

func (s *Service) entry(path string) (*filesystempb.EntryInfo, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, wireError("file", path, err)
	}
	return newNames(s.state.Accounts()).entry(path, info), nil
}

// MakeDir creates a directory with its parents.
func (s *Service) MakeDir(_ context.Context, req *connect.Request[filesystempb.MakeDirRequest]) (*connect.Response[filesystempb.MakeDirResponse], error) {
	u, path, err := s.locate(req, req.Msg.GetPath())
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err == nil {
		if info.IsDir() {
			return nil, connect.NewError(connect.CodeAlreadyExists, fmt.Errorf("directory already exists: %s", path))
		}
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("path already exists but it is not a directory: %s", path))
	}
	if err := owned.MkdirAll(path, u); err != nil {
		return nil, wireError("directory", path, err)
	}
	entry, err := s.entry(path)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&filesystempb.MakeDirResponse{Entry: entry}), nil
}

// Move renames a path, to another file system if need be, and creates the
// parents of its destination.
func (s *Service) Move(_ context.Context, req *connect.Request[filesystempb.MoveRequest]) (*connect.Response[filesystempb.MoveResponse], error) {
	_, src, err := s.locate(req, req.Msg.GetSource())
	if err != nil {
		return nil, err
	}
	u, dst, err := s.locate(req, req.Msg.GetDestination())
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(src); err != nil {
		return nil, wireError("source file", src, err)
	}
	if err := owned.MkdirAll(filepath.Dir(dst), u); err != nil {
		return nil, wireError("directory", filepath.Dir(dst), err)
	}
	if err := move.Path(src, dst); err != nil {
		return nil, wireError("source file", src, err)
	}
	entry, err := s.entry(dst)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&filesystempb.MoveResponse{Entry: entry}), nil
}

// Remove deletes a path and what is in it; a path that is not there is fine.
func (s *Service) Remove(_ context.Context, req *connect.Request[filesystempb.RemoveRequest]) (*connect.Response[filesystempb.RemoveResponse], error) {
	_, path, err := s.locate(req, req.Msg.GetPath())
	if err != nil {
		return nil, err
	}
	if path == "/" {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("the root directory cannot be removed"))
	}
	if err := os.RemoveAll(path); err != nil {
		return nil, wireError("file", path, err)
	}
	return connect.NewResponse(&filesystempb.RemoveResponse{}), nil
}

// ListDir lists a directory to a depth. A link to a directory is followed at
// the root only, and the results are under the path as requested.
func (s *Service) ListDir(ctx context.Context, req *connect.Request[filesystempb.ListDirRequest]) (*connect.Response[filesystempb.ListDirResponse], error) {
	_, path, err := s.locate(req, req.Msg.GetPath())
	if err != nil {
		return nil, err
	}
	if err := checkDir(path); err != nil {
		return nil, err
	}
	w := walker{ctx: ctx, names: newNames(s.state.Accounts())}
	if err := w.walk(path, int(min(max(req.Msg.GetDepth(), 1), 4096))); err != nil {
		return nil, err
	}
	return connect.NewResponse(&filesystempb.ListDirResponse{Entries: w.entries}), nil
}

func checkDir(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return wireError("directory", path, err)
	}
	if !info.IsDir() {
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("path is not a directory: %s", path))
	}
	return nil
}

// wireError gives a file system error its Connect code.
func wireError(what, path string, err error) error {
	code := connect.CodeInternal
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return connect.NewError(connect.CodeNotFound, fmt.Errorf("%s not found: %s", what, path))
	case errors.Is(err, fs.ErrExist):
		code = connect.CodeAlreadyExists
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		code = connect.CodePermissionDenied
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EMFILE):
		code = connect.CodeResourceExhausted
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ELOOP),
		errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ENOTEMPTY):
		code = connect.CodeInvalidArgument
	case errors.Is(err, syscall.EBUSY):
		code = connect.CodeFailedPrecondition
	}
	return connect.NewError(code, fmt.Errorf("%s %s: %w", what, path, err))
}
