package e2e

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// largeLayers are four layers with 1 GiB in 50,000 files of this host.
func largeLayers(t *testing.T, dir string) (paths []string) {
	t.Helper()
	const files, size, layers = 50_000, 1 << 30, 4
	var small, big []string
	var bytes int64
	err := filepath.WalkDir("/usr", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		switch {
		case err != nil:
			return err
		case info.Size() <= 64<<10 && len(small) < files:
			small, bytes = append(small, path), bytes+info.Size()
		case info.Size() > 64<<10 && info.Size() < 16<<20:
			big = append(big, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range big {
		if info, err := os.Stat(path); err == nil && bytes < size {
			small, bytes = append(small, path), bytes+info.Size()
		}
	}
	if len(small) < files || bytes < size {
		t.Fatalf("this host has %d files of %d bytes below /usr: too few", len(small), bytes)
	}
	// What a sandbox needs to run commands comes first.
	needed, err := exec.CommandContext(t.Context(), "sh", "-c", `cd /usr/bin; for p in bash sh cat ls id env mkdir true find sleep; do echo /usr/bin/$p; readlink -f $p; for l in $(ldd $p | grep -o '/lib[^ ]*'); do echo /usr$l; realpath $l; done; done | sort -u`).Output()
	if err != nil {
		t.Fatal(err)
	}
	lists := make([][]string, layers)
	lists[0] = append(strings.Fields(string(needed)), "/bin", "/lib", "/lib64", "/usr/lib64/ld-linux-x86-64.so.2", "/etc/ld.so.cache", "/etc/passwd", "/etc/group")
	for i, path := range small {
		lists[i%layers] = append(lists[i%layers], path)
	}
	for i, list := range lists {
		path := filepath.Join(dir, fmt.Sprintf("layer%d.tar.gz", i))
		cmd := exec.CommandContext(t.Context(), "tar", "-C", "/", "--no-recursion", "--null", "-T", "-", "-I", "gzip -1", "-cf", path)
		cmd.Stdin = strings.NewReader(strings.Join(list, "\x00"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		paths = append(paths, path)
	}
	return paths
}

// push writes the image into the registry.
func (r realImage) push(t *testing.T) {
	t.Helper()
	image := imageOf(t, r.layers...)
	ref, err := name.ParseReference(r.reference)
	if err == nil {
		err = remote.Write(ref, image, remote.WithContext(t.Context()))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// imageOf is an image with the layers that are in files.
func imageOf(t *testing.T, layers ...string) v1.Image {
	t.Helper()
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}},
		Config: v1.Config{Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}}})
	for _, path := range layers {
		if err != nil {
			break
		}
		var layer v1.Layer
		if layer, err = tarball.LayerFromFile(path); err == nil {
			image, err = mutate.AppendLayers(image, layer)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// listOf is what findCommand must print in a sandbox of an archive.
func listOf(t *testing.T, path string) (lines []string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(unpacked); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		kind, ok := map[byte]string{tar.TypeReg: "f", tar.TypeLink: "f", tar.TypeDir: "d", tar.TypeSymlink: "l"}[h.Typeflag]
		path := filepath.Join("/", h.Name)
		if !ok || besides(path) {
			continue
		}
		mode, target := strconv.FormatInt(h.Mode, 8), ""
		if kind == "l" {
			mode, target = "777", h.Linkname
		}
		lines = append(lines, fmt.Sprintf("%s %s %s %d:%d %s", path, kind, mode, h.Uid, h.Gid, target))
	}
	slices.Sort(lines)
	return lines
}

// besides reports whether a path is not the image's alone: the node, its users and the kernel have parts in it.
func besides(path string) bool {
	for _, dir := range []string{"/dev", "/proc", "/sys", "/run", "/tmp", "/home", "/etc", "/root"} {
		if path == dir || strings.HasPrefix(path, dir+"/") {
			return true
		}
	}
	return path == "/"
}

// findCommand prints all of the files that besides leaves.
const findCommand = `find / -xdev \( -path /dev -o -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /home -o -path /etc -o -path /root \) -prune -o ! -path / -printf '%p %y %m %U:%G %l\n'`
