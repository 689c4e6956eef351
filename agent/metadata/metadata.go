//go:build linux

// Package metadata keeps a client's own words about a file in its extended
// attributes. It may import the standard library and x/sys; agent/files,
// agent/filesystem and agent/move import it.
package metadata

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	headerPrefix = "X-Metadata-"
	xattrPrefix  = "user.e2b."
	// maxKey is what the kernel leaves of a name of 255 bytes.
	maxKey   = 255 - len(xattrPrefix)
	maxTotal = 4096
	// maxList bounds the attribute names of one file that are looked at.
	maxList = 64 << 10
)

// FromHeader reads the X-Metadata-* headers of an upload; keys become lower
// case. An error says what is wrong with them.
func FromHeader(h http.Header) (map[string]string, error) {
	var out map[string]string
	total := 0
	for name, values := range h {
		if len(name) <= len(headerPrefix) || !strings.EqualFold(name[:len(headerPrefix)], headerPrefix) {
			continue
		}
		key, value := strings.ToLower(name[len(headerPrefix):]), values[0]
		if len(key) > maxKey {
			return nil, fmt.Errorf("metadata key is longer than %d bytes", maxKey)
		}
		if !printable(key) || !printable(value) {
			return nil, fmt.Errorf("metadata '%s' is not printable ASCII", strings.ToValidUTF8(key, "?"))
		}
		if total += len(key) + len(value); total > maxTotal {
			return nil, fmt.Errorf("metadata is larger than %d bytes", maxTotal)
		}
		if out == nil {
			out = map[string]string{}
		}
		out[key] = value
	}
	return out, nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// Replace makes m the whole metadata of an open file.
func Replace(f *os.File, m map[string]string) error {
	fd := int(f.Fd())
	names, err := list(func(b []byte) (int, error) { return unix.Flistxattr(fd, b) })
	if err != nil && len(m) == 0 {
		return nil // A file system without attributes has none to remove.
	}
	for _, name := range names {
		if _, keep := m[name]; keep {
			continue
		}
		if err := unix.Fremovexattr(fd, xattrPrefix+name); err != nil && !errors.Is(err, unix.ENODATA) {
			return fmt.Errorf("remove metadata '%s': %w", name, err)
		}
	}
	for name, value := range m {
		if err := unix.Fsetxattr(fd, xattrPrefix+name, []byte(value), 0); err != nil {
			return fmt.Errorf("set metadata '%s': %w", name, err)
		}
	}
	return nil
}

// Read returns the metadata of a path, links not followed; nil if it has none
// or the file system has no attributes.
func Read(path string) map[string]string {
	names, err := list(func(b []byte) (int, error) { return unix.Llistxattr(path, b) })
	if err != nil || len(names) == 0 {
		return nil
	}
	out := map[string]string{}
	buf := make([]byte, maxTotal)
	for _, name := range names {
		n, err := unix.Lgetxattr(path, xattrPrefix+name, buf)
		// Guests set attributes too; protobuf strings must be valid.
		if err == nil && printable(string(buf[:n])) && printable(name) {
			out[name] = string(buf[:n])
		}
	}
	return out
}

// list returns the names under the prefix, without it.
func list(call func([]byte) (int, error)) ([]string, error) {
	buf := make([]byte, 1024)
	n, err := call(buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, maxList)
		n, err = call(buf)
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if key, ok := strings.CutPrefix(name, xattrPrefix); ok && key != "" {
			names = append(names, key)
		}
	}
	return names, nil
}
