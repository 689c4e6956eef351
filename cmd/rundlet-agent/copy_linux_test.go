package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/envd"
)

// A copy in a sandbox: with the files and the system calls that a guest has, and nothing left of one that fails.
func TestACopyIntoASandbox(t *testing.T) {
	b := newNode(t).boot()
	b.init()
	var archive bytes.Buffer
	zw := gzip.NewWriter(&archive)
	w := tar.NewWriter(zw)
	then := time.Unix(1e9, 0)
	for _, h := range []tar.Header{
		{Name: "src/", Typeflag: tar.TypeDir, Mode: 0o750}, {Name: "src/f", Typeflag: tar.TypeReg, Size: 3 << 20, Mode: 0o4755},
		{Name: "src/hard", Typeflag: tar.TypeLink, Linkname: "src/f"}, {Name: "src/link", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		{Name: "src/usr/", Typeflag: tar.TypeDir, Mode: 0o700}, {Name: "src/usr/new/a", Typeflag: tar.TypeReg, Mode: 0o600},
	} {
		h.ModTime = then
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(w, bytes.NewReader(make([]byte, h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	do := func(req envd.CopyRequest, archive []byte) error {
		return envd.Copy(t.Context(), b.dial, b.id, req, bytes.NewReader(archive))
	}
	const list = "; find . -type d -printf '%P %U:%G %m\n' -o -printf '%P %U:%G %m %n %s %l\n' | LC_ALL=C sort; find . -type f -newermt 2002-01-01"
	// New, and into what is there.
	for range 2 {
		if err := do(envd.CopyRequest{Source: "src", Destination: "app"}, archive.Bytes()); err != nil {
			t.Fatal(err)
		}
		want := strings.Join([]string{
			" 1000:1000 750", "f 1000:1000 755 2 3145728 ", "hard 1000:1000 755 2 3145728 ", "link 1000:1000 777 1 11 /etc/passwd",
			"usr 1000:1000 700", "usr/new 1000:1000 755", "usr/new/a 1000:1000 600 1 0"}, "\n")
		if got := b.sh("cd /home/user/app" + list); strings.TrimSpace(got) != want[1:] {
			t.Errorf("there is\n%s", got)
		}
	}
	// Into directories of the image, of which /usr may be a mount.
	if err := do(envd.CopyRequest{Source: "./src/", Destination: "/", Owner: "root:user", Mode: "2711"}, archive.Bytes()); err != nil {
		t.Fatal(err)
	}
	if got := b.sh("stat -c '%n %u:%g %a' /usr /usr/new /usr/new/a"); strings.TrimSpace(got) != "/usr 0:0 755\n/usr/new 0:1000 755\n/usr/new/a 0:1000 2711" {
		t.Errorf("there is\n%s", got)
	}
	if err := do(envd.CopyRequest{Source: "src", Destination: "/"}, archive.Bytes()[:archive.Len()/2]); err == nil {
		t.Error("half an archive was copied")
	}
	if err := do(envd.CopyRequest{Source: "src/f", Destination: "/proc/"}, archive.Bytes()); err == nil {
		t.Error("a file was copied to /proc")
	}
	if got := b.sh("ls -A / /home/user /home/user/app"); !strings.Contains(got, "app\n") || strings.Contains(got, ".rundlet-copy") {
		t.Errorf("left is %q", got)
	}
}
