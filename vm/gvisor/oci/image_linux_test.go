package oci

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/vm"
)

func makeImage(t testing.TB) string {
	t.Helper()
	image, err := erofs.Make(t.Context(), erofs.FS(fstest.MapFS{"init": {Data: []byte("x")}}), t.TempDir(), erofs.Options{ForGuest: true})
	if err != nil {
		t.Fatal(err)
	}
	return image.Path
}

// changed is an image with other bytes in its superblock, and a right checksum.
func changed(t *testing.T, change func(super []byte)) string {
	t.Helper()
	data, err := os.ReadFile(makeImage(t))
	if err != nil {
		t.Fatal(err)
	}
	super := data[superOffset:4096]
	change(super)
	binary.LittleEndian.PutUint32(super[4:], 0)
	binary.LittleEndian.PutUint32(super[4:], ^crc32.Checksum(super, crc32.MakeTable(crc32.Castagnoli)))
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestImagesThatGVisorCannotReadAreRefused(t *testing.T) {
	le := binary.LittleEndian
	for name, c := range map[string]struct {
		change func(super []byte)
		want   error
	}{
		"as it was":          {func([]byte) {}, nil},
		"without a checksum": {func(s []byte) { le.PutUint32(s[8:], 0) }, nil},
		"another UUID":       {func(s []byte) { s[48]++ }, nil},
		"no magic":           {func(s []byte) { s[0]++ }, vm.ErrInvalid},
		"compression":        {func(s []byte) { le.PutUint32(s[80:], 1) }, vm.ErrUnsupported},
		"chunks":             {func(s []byte) { le.PutUint32(s[80:], 4) }, vm.ErrUnsupported},
		"a new feature":      {func(s []byte) { le.PutUint32(s[80:], 1<<31) }, vm.ErrUnsupported},
		"another device":     {func(s []byte) { le.PutUint16(s[86:], 1) }, vm.ErrUnsupported},
		"small blocks":       {func(s []byte) { s[12] = 9 }, vm.ErrUnsupported},
		"huge blocks":        {func(s []byte) { s[12] = 255 }, vm.ErrUnsupported},
		"blocks of 64 KiB":   {func(s []byte) { s[12] = 16 }, vm.ErrInvalid},
		"many blocks":        {func(s []byte) { le.PutUint32(s[36:], 1<<32-1) }, vm.ErrInvalid},
		"inodes at the end":  {func(s []byte) { le.PutUint32(s[40:], 1<<32-1) }, vm.ErrInvalid},
		"root at the end":    {func(s []byte) { le.PutUint16(s[14:], 1<<16-1) }, vm.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			spec := vm.Spec{Rootfs: changed(t, c.change), Args: []string{"/init"}}
			if err := Check(spec); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestFilesThatAreNotImages(t *testing.T) {
	dir := t.TempDir()
	whole, err := os.ReadFile(makeImage(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]int{"empty": 0, "short": superOffset + superSize - 1, "cut": 4096} {
		if err := os.WriteFile(filepath.Join(dir, name), whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	damaged := append([]byte(nil), whole...)
	damaged[4000]++
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "damaged"), damaged, 0o600), unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"none", "empty", "short", "cut", "damaged", "pipe", "../../../../../../dev/zero"} {
		if err := Check(vm.Spec{Rootfs: filepath.Join(dir, name), Args: []string{"/init"}}); !errors.Is(err, vm.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMountsOfImages(t *testing.T) {
	dir, image := t.TempDir(), makeImage(t)
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "point"), 0o700), os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	compressed := changed(t, func(super []byte) { super[80] = 1 })
	for name, c := range map[string]struct {
		root  string
		mount vm.Mount
		want  error
	}{
		"image in a directory":     {dir, vm.Mount{Source: image, Target: "/point"}, nil},
		"image in an image":        {image, vm.Mount{Source: image, Target: "/point"}, nil},
		"directory in an image":    {image, vm.Mount{Source: dir, Target: "/point"}, vm.ErrUnsupported},
		"file in an image":         {image, vm.Mount{Source: filepath.Join(dir, "file"), Target: "/point"}, vm.ErrUnsupported},
		"writable image":           {dir, vm.Mount{Source: image, Target: "/point", Overlay: true}, vm.ErrUnsupported},
		"writable in an image":     {image, vm.Mount{Source: image, Target: "/point", Overlay: true}, vm.ErrUnsupported},
		"image on a file":          {dir, vm.Mount{Source: image, Target: "/file"}, vm.ErrInvalid},
		"image that is compressed": {dir, vm.Mount{Source: compressed, Target: "/point"}, vm.ErrUnsupported},
	} {
		if err := Check(vm.Spec{Rootfs: c.root, Args: []string{"/init"}, Mounts: []vm.Mount{c.mount}}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestSpecOfAnImage(t *testing.T) {
	image := makeImage(t)
	spec := vm.Spec{Rootfs: image + "/", Args: []string{"/init"}, DiskMiB: 30, Mounts: []vm.Mount{{Source: image, Target: "/agent"}}}
	spec.Rootfs = image
	got := Spec(spec, true)
	for key, want := range map[string]string{"source": image, "type": "erofs", "overlay": "dir=/", "options": "size=30m"} {
		if got.Annotations[rootfsAnnotation+key] != want {
			t.Errorf("%s is %q, want %q", key, got.Annotations[rootfsAnnotation+key], want)
		}
	}
	if m := got.Mounts[len(got.Mounts)-1]; m.Type != "erofs" || m.Source != image || len(m.Options) != 1 || m.Options[0] != "ro" {
		t.Errorf("the mount is %+v", m)
	}
	spec.RootfsReadOnly = true
	if a := Spec(spec, false).Annotations; a[rootfsAnnotation+"overlay"] != "" || a[rootfsAnnotation+"options"] != "" || !Spec(spec, false).Root.Readonly {
		t.Errorf("a read-only root has the annotations %v", a)
	}
	if a := Spec(vm.Spec{Rootfs: t.TempDir()}, true).Annotations; len(a) > 0 {
		t.Errorf("a directory has the annotations %v", a)
	}
}

func FuzzImage(f *testing.F) {
	whole, err := os.ReadFile(makeImage(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:4096])
	path := filepath.Join(f.TempDir(), "image")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := readSuper(path)
		if err != nil {
			return
		}
		if err := s.check(); err == nil && (s.size < 4096 || len(s.data) < 4096) {
			t.Errorf("an image of %d bytes is accepted", s.size)
		}
	})
}
