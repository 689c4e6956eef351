//go:build linux

package agent_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"connectrpc.com/connect"

	"github.com/rundlet/rundlet/api/gen/envd/filesystempb"
)

// small mounts a file system that is soon full.
func small(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Whatever is written, a full disk is 507, and nothing is left half-written.
func TestEveryWriteOfAFileTellsThatTheDiskIsFull(t *testing.T) {
	g := newGuest(t)
	big := make([]byte, 1<<20)
	put(t, g.home+"/big", string(big))
	full := small(t, "size=64k")
	put(t, full+"/old", "precious")
	inodes := small(t, "size=1m,nr_inodes=3") // One is the root's.
	kind, body := form("f", string(big))
	upload, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, path string
		header     map[string]string
		body       []byte
	}{
		{"a new file", query("path", full+"/f"), octet, big},
		{"a new file, compressed", query("path", full+"/f"), with(octet, "Content-Encoding", "gzip"), gzipped(big).Bytes()},
		{"a form", query("path", full+"/f"), map[string]string{"Content-Type": kind}, upload},
		{"an old file", query("path", full+"/old"), octet, big},
		{"a file in new directories", query("path", inodes+"/a/b/c/f"), octet, []byte("x")},
		{"a composed file", "/files/compose", nil, fmt.Appendf(nil, `{"source_paths":[%q],"destination":%q}`, g.home+"/big", full+"/f")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp, text := g.do(t, "POST", tt.path, tt.header, bytes.NewReader(tt.body))
			if resp.StatusCode != 507 || !strings.Contains(text, `"code":507,"message":"not enough disk space`) {
				t.Errorf("%d %s", resp.StatusCode, text)
			}
			if left, _ := filepath.Glob(full + "/*"); len(left) != 1 {
				t.Errorf("left behind: %v", left)
			}
			if left, _ := filepath.Glob(full + "/.*"); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	for name, want := range map[string]int{full + "/old": 8, g.home + "/big": len(big)} {
		if b, err := os.ReadFile(name); len(b) != want {
			t.Errorf("%s has %d bytes, %v", name, len(b), err)
		}
	}
	_, err = g.fs.MakeDir(t.Context(), as("user", &filesystempb.MakeDirRequest{Path: inodes + "/a/b/c"}))
	wantCode(t, err, connect.CodeResourceExhausted, "")
	_, err = g.fs.Move(t.Context(), as("user", &filesystempb.MoveRequest{Source: g.home + "/big", Destination: full + "/f"}))
	wantCode(t, err, connect.CodeResourceExhausted, "")
}
