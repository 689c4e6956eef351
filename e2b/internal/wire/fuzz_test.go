package wire

import (
	"strings"
	"testing"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/sandbox"
)

func FuzzCursor(f *testing.F) {
	f.Add(FormatCursor(sandbox.Cursor{StartedAt: fakeruntime.Epoch, ID: "i0"}, true), true)
	f.Add(FormatCursor(sandbox.Cursor{StartedAt: fakeruntime.Epoch, ID: "i0"}, false), false)
	f.Add("X19f", false)
	f.Add("", true)
	f.Fuzz(func(t *testing.T, token string, ascending bool) {
		c, err := ParseCursor(&token, ascending)
		if err != nil || c == nil {
			return
		}
		again := FormatCursor(*c, ascending)
		c2, err := ParseCursor(&again, ascending)
		if err != nil || c2.ID != c.ID || !c2.StartedAt.Equal(c.StartedAt) {
			t.Fatalf("%+v became %+v, %v", c, c2, err)
		}
	})
}

func FuzzMetadata(f *testing.F) {
	for _, s := range []string{"a=b", "a=b&c=%2520", "=", "&", "a;b", "%zz", "a=%25zz", "a=1&a=2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		m, err := ParseMetadata(&raw)
		if err == nil && len(m) == 0 && strings.Trim(raw, "&") != "" {
			t.Fatalf("%q is a filter, but filters nothing", raw)
		}
	})
}

// FuzzName: a name that is taken is kept as it is, and leads nowhere else.
func FuzzName(f *testing.F) {
	for _, s := range []string{"snap", "ns/snap:v1", "Snap:default", "../x", "a:b:default", "\u212A", "a:default:default", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		bare, err := ParseName(name)
		if err != nil {
			return
		}
		again, err := ParseName(bare)
		if err != nil || again != bare || strings.ContainsAny(bare, "\\ \x00%") || strings.HasPrefix(bare, ".") || strings.Count(bare, "/") > 1 {
			t.Fatalf("%q became %q became %q, %v", name, bare, again, err)
		}
	})
}
