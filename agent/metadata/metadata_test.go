//go:build linux

package metadata

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFromHeader(t *testing.T) {
	type m = map[string]string
	for name, tc := range map[string]struct {
		header http.Header
		want   m
		err    string
	}{
		"none":                {http.Header{"Content-Type": {"x"}}, nil, ""},
		"no key":              {http.Header{"X-Metadata-": {"x"}}, nil, ""},
		"two":                 {http.Header{"X-Metadata-Author": {"Ann"}, "X-Metadata-A-B": {""}}, m{"author": "Ann", "a-b": ""}, ""},
		"as HTTP/2 writes it": {http.Header{"x-metadata-author": {"Ann"}}, m{"author": "Ann"}, ""},
		"the first of many":   {http.Header{"X-Metadata-A": {"1", "2"}}, m{"a": "1"}, ""},
		"longest key":         {http.Header{"X-Metadata-" + strings.Repeat("k", maxKey): {"v"}}, m{strings.Repeat("k", maxKey): "v"}, ""},
		"key too long":        {http.Header{"X-Metadata-" + strings.Repeat("k", maxKey+1): {"v"}}, nil, "longer than 246 bytes"},
		"largest":             {http.Header{"X-Metadata-K": {strings.Repeat("v", maxTotal-1)}}, m{"k": strings.Repeat("v", maxTotal-1)}, ""},
		"too large":           {http.Header{"X-Metadata-K": {strings.Repeat("v", maxTotal)}}, nil, "larger than 4096 bytes"},
		"too large together": {http.Header{"X-Metadata-K": {strings.Repeat("v", maxTotal/2)}, "X-Metadata-L": {strings.Repeat("v", maxTotal/2)}},
			nil, "larger than 4096 bytes"},
		"control character": {http.Header{"X-Metadata-K": {"a\nb"}}, nil, "'k' is not printable"},
		"no UTF-8 in a key": {http.Header{"X-Metadata-\xff": {"v"}}, nil, "is not printable"},
		"beyond ASCII":      {http.Header{"X-Metadata-K": {"é"}}, nil, "not printable"},
	} {
		got, err := FromHeader(tc.header)
		if tc.err == "" && (err != nil || !maps.Equal(got, tc.want)) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("%s: %v, %v; want %q", name, got, err, tc.err)
		}
	}
}

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// What others keep in attributes stays.
	if err := unix.Setxattr(path, "user.other", []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	for _, m := range []map[string]string{{"a": "1", "b": "2"}, {"b": "3", "c": ""}, {}, {"d": "4"}, nil} {
		if err := Replace(f, m); err != nil {
			t.Fatal(err)
		}
		if got := Read(path); !maps.Equal(got, m) {
			t.Errorf("read %v, want %v", got, m)
		}
	}
	buf := make([]byte, 8)
	if n, err := unix.Getxattr(path, "user.other", buf); err != nil || string(buf[:n]) != "x" {
		t.Errorf("other attribute: %q, %v", buf[:n], err)
	}
}

// TestReadIsCareful sets attributes the way a guest's own programs could.
func TestReadIsCareful(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// More names than the first buffer holds.
	want := map[string]string{}
	for i := range 12 {
		want[strings.Repeat("k", 100)+string(rune('a'+i))] = "v"
	}
	for k, v := range want {
		if err := unix.Setxattr(path, xattrPrefix+k, []byte(v), 0); err != nil {
			t.Fatal(err)
		}
	}
	for k, v := range map[string]string{"invalid": "\xff", "control": "\x00", "k\xff": "v"} {
		if err := unix.Setxattr(path, xattrPrefix+k, []byte(v), 0); err != nil {
			t.Fatal(err)
		}
	}
	if got := Read(path); !maps.Equal(got, want) {
		t.Errorf("read %q", got)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if got := Read(link); got != nil {
		t.Errorf("a link was followed: %v", got)
	}
	if got := Read(filepath.Join(dir, "none")); got != nil {
		t.Errorf("read %v of no file", got)
	}
}

func TestFileSystemWithoutAttributes(t *testing.T) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Replace(f, nil); err != nil {
		t.Errorf("nothing to remove: %v", err)
	}
	if err := Replace(f, map[string]string{"a": "1"}); err == nil || !strings.Contains(err.Error(), "set metadata 'a'") {
		t.Errorf("%v", err)
	}
}
