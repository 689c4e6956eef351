//go:build linux

package erofs

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// hostile is a source that says what a test wants it to.
type hostile struct {
	names map[string][]string
	files map[string]File
	data  map[string]string
}

func (h hostile) Names(dir string) ([]string, error) { return h.names[dir], nil }
func (h hostile) Open(path string) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(h.data[path])), nil
}
func (h hostile) Stat(path string) (File, error) {
	if f, ok := h.files[path]; ok {
		return f, nil
	}
	return File{Mode: unix.S_IFDIR | 0o755}, nil
}

func TestHostileTreesAreRefused(t *testing.T) {
	one := func(f File, data string) hostile {
		return hostile{map[string][]string{"": {"f"}}, map[string]File{"f": f}, map[string]string{"f": data}}
	}
	deep := map[string][]string{}
	for path := ""; len(path) < 5000; {
		deep[path] = []string{strings.Repeat("d", 200)}
		path = strings.TrimPrefix(path+"/"+strings.Repeat("d", 200), "/")
	}
	for name, source := range map[string]hostile{
		"root is a file":      {files: map[string]File{"": {Mode: unix.S_IFREG}}},
		"name with a slash":   {names: map[string][]string{"": {"../a"}}},
		"name with a NUL":     {names: map[string][]string{"": {"a\x00"}}},
		"empty name":          {names: map[string][]string{"": {""}}},
		"dots":                {names: map[string][]string{"": {".."}}},
		"long name":           {names: map[string][]string{"": {strings.Repeat("n", 256)}}},
		"name twice":          {names: map[string][]string{"": {"a", "b", "a"}}},
		"endless path":        {names: deep},
		"no type":             one(File{Mode: 0o644}, ""),
		"file grew":           one(File{Mode: unix.S_IFREG, Size: 3}, "four"),
		"file shrank":         one(File{Mode: unix.S_IFREG, Size: 5}, "four"),
		"negative size":       one(File{Mode: unix.S_IFREG, Size: -1}, ""),
		"empty link":          one(File{Mode: unix.S_IFLNK}, ""),
		"long link":           one(File{Mode: unix.S_IFLNK, Target: strings.Repeat("t", 4096)}, ""),
		"link with a NUL":     one(File{Mode: unix.S_IFLNK, Target: "a\x00b"}, ""),
		"unknown attribute":   one(File{Mode: unix.S_IFREG, Attributes: map[string]string{"mine.x": ""}}, ""),
		"large attribute":     one(File{Mode: unix.S_IFREG, Attributes: map[string]string{"user.x": strings.Repeat("v", 65536)}}, ""),
		"too many attributes": one(File{Mode: unix.S_IFREG, Attributes: manyAttributes()}, ""),
		"linked directories": {map[string][]string{"": {"a", "b"}},
			map[string]File{"a": {Mode: unix.S_IFDIR, Link: Link{1, 1}}, "b": {Mode: unix.S_IFDIR, Link: Link{1, 1}}}, nil},
		"one link of two types": {map[string][]string{"": {"a", "b"}},
			map[string]File{"a": {Mode: unix.S_IFREG, Link: Link{1, 1}}, "b": {Mode: unix.S_IFIFO, Link: Link{1, 1}}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if image, err := Make(t.Context(), source, dir, Options{}); err == nil {
				t.Errorf("it became the image %v", image)
			}
			want(t, dir, lockFile)
		})
	}
}

func manyAttributes() map[string]string {
	all := map[string]string{}
	for i := range 5 {
		all[fmt.Sprintf("user.%d", i)] = strings.Repeat("v", 65000)
	}
	return all
}
