//go:build linux

package hostbase

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFirstBootMakesPythonWhatItIsInE2B(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing": {nil, ""},
		"debian": {map[string]string{
			"usr/bin/python3": "->python3.11", "usr/bin/python3.11": "python", "usr/bin/pip3": "pip", "usr/bin/pip": "pip",
			"usr/lib/python3.11/EXTERNALLY-MANAGED": "[externally-managed]",
		}, "link /usr/bin/python python3\nremove /usr/lib/python3.11/EXTERNALLY-MANAGED\n"},
		"local": {map[string]string{
			"usr/bin/python3": "python", "usr/local/bin/python3": "newer", "usr/local/bin/pip3": "pip",
		}, "link /usr/local/bin/python python3\nlink /usr/local/bin/pip pip3\n"},
		"has one":          {map[string]string{"usr/bin/python3": "python", "usr/bin/python": "->python3"}, ""},
		"only alternative": {map[string]string{"usr/bin/python3": "->/nowhere", "usr/bin/pip3": "->../../opt/pip3", "opt/pip3": "pip"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			host := fakeHost(t, c.files)
			base := build(t, host, t.TempDir())
			got, err := os.ReadFile(filepath.Join(base.Rootfs, firstBootFile))
			if string(got) != c.want || (err == nil) != (c.want != "") {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}
