//go:build linux

package kernel

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// wantModules are those of the files of the harness: dependencies first, and what is built in not at all.
var wantModules = []string{"00-virtio_ring.ko", "01-virtio.ko", "02-virtio_console.ko", "03-virtio_blk.ko", "04-net_failover.ko", "05-virtio_net.ko",
	"06-overlay.ko", "07-libcrc32c.ko", "08-erofs.ko", "09-virtio_rng.ko"}

func checkInstalled(t *testing.T, k Kernel) {
	t.Helper()
	var names []string
	for _, path := range k.Modules {
		names = append(names, filepath.Base(path))
		if data, err := os.ReadFile(path); err != nil || !bytes.HasPrefix(data, []byte("\x7fELF")) {
			t.Errorf("%s: %v, or not unpacked", path, err)
		}
	}
	if !slices.Equal(names, wantModules) {
		t.Errorf("modules %q", names)
	}
	if image, err := os.ReadFile(k.Image); err != nil || !bytes.Equal(image, ownImage(t, ".gz")) {
		t.Errorf("image: %v, or another content", err)
	}
	if runtime.GOARCH == "amd64" {
		if elf, err := os.ReadFile(k.Vmlinux); err != nil || !bytes.Equal(elf, vmlinux) {
			t.Errorf("vmlinux %q (%s): %v, or another content", k.Vmlinux, k.NoVmlinux, err)
		}
	}
	if k.Version != release || !validID.MatchString(k.ID) || !k.Current {
		t.Errorf("kernel %+v", k)
	}
}

func TestInstallPackages(t *testing.T) {
	old := unix.Umask(0o077)
	t.Cleanup(func() { unix.Umask(old) })
	ids := map[string]bool{}
	for _, packed := range []string{"", ".gz", ".xz", ".zst"} {
		t.Run("data.tar"+packed, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "kernels")
			file := writeTemp(t, "k.deb", deb("data.tar"+packed, pack(t, packed, tarOf(t, files(t, packed)))))
			var lines []string
			k, err := Install(t.Context(), dir, file, func(line string) { lines = append(lines, line) })
			if err != nil {
				t.Fatal(err)
			}
			checkInstalled(t, k)
			ids[k.ID] = true
			if !slices.Contains(lines, "unpacking k.deb") || !slices.Contains(lines, "new machines boot kernel "+k.ID) {
				t.Errorf("progress %q", lines)
			}
			opened, err := Open(dir)
			if err != nil || opened.ID != k.ID {
				t.Errorf("open: %+v, %v", opened, err)
			}
			for path, mode := range map[string]fs.FileMode{filepath.Dir(k.Image): 0o755, filepath.Dir(k.Modules[0]): 0o755, k.Image: 0o644, k.Modules[0]: 0o644} {
				if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
					t.Errorf("%s: %v, %v", path, info.Mode(), err)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(dir, ".install-*")); len(left) > 0 {
				t.Errorf("left %q", left)
			}
		})
	}
	if len(ids) != 1 {
		t.Errorf("one kernel in packages of other compressions has the ids %v", ids)
	}
}

// TestInstallTwoPackages is Ubuntu's way: the image has one package, the modules have another.
func TestInstallTwoPackages(t *testing.T) {
	image, modules := map[string][]byte{}, map[string][]byte{}
	for name, data := range files(t, ".zst") {
		if strings.HasPrefix(name, "boot/") {
			image[name] = data
		} else {
			modules[name] = data
		}
	}
	first := writeTemp(t, "image.deb", deb("data.tar", tarOf(t, image)))
	second := writeTemp(t, "modules.deb", deb("data.tar", tarOf(t, modules)))
	dir := t.TempDir()
	k, err := Install(t.Context(), dir, first, nil, second)
	if err != nil {
		t.Fatal(err)
	}
	checkInstalled(t, k)
	if _, err := Install(t.Context(), dir, first, nil); err == nil || !strings.Contains(err.Error(), "CONFIG_VIRTIO_") {
		t.Errorf("the image alone: %v", err)
	}
	if _, err := Install(t.Context(), dir, first, nil, t.TempDir()); err == nil || !strings.Contains(err.Error(), "must be packages") {
		t.Errorf("a package and a directory: %v", err)
	}
}

func TestInstallRefuses(t *testing.T) {
	good := deb("data.tar", tarOf(t, files(t, "")))
	packed := deb("data.tar.xz", pack(t, ".xz", tarOf(t, files(t, ""))))
	without := func(part string) map[string][]byte {
		all := files(t, "")
		for name := range all {
			if strings.Contains(name, part) {
				delete(all, name)
			}
		}
		return all
	}
	with := func(name string, data []byte) map[string][]byte {
		all := files(t, "")
		all[name] = data
		return all
	}
	modules := "lib/modules/" + release + "/kernel/drivers/"
	other := map[string][]byte{"amd64": elfFile(elf.EM_AARCH64, ".text", nil), "arm64": vmlinux}[runtime.GOARCH]
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":              {nil, "not a kernel"},
		"text":               {[]byte("#!/bin/sh\n"), "not a kernel"},
		"another processor":  {other, "this host is " + runtime.GOARCH},
		"EFI zboot":          {append([]byte("MZ\x00\x00zimg"), make([]byte, 2048)...), "CONFIG_EFI_ZBOOT"},
		"archive cut off":    {good[:len(arMagic)+30], "unexpected EOF"},
		"no data":            {good[:len(arMagic)], "no files"},
		"size not a number":  {bytes.Replace(good, []byte("4         `\n"), []byte("-4        `\n"), 1), "damaged"},
		"data cut off":       {good[:len(good)/2], "unexpected EOF"},
		"end cut off":        {good[:len(good)-512], "damaged"},
		"packed cut off":     {packed[:len(packed)-100], "EOF"},
		"packed and damaged": {append(bytes.Clone(packed[:len(packed)-100]), make([]byte, 100)...), "unpack"},
		"no image":           {deb("data.tar", tarOf(t, without("boot/"))), "one boot/vmlinuz-*"},
		"two images":         {deb("data.tar", tarOf(t, with("boot/vmlinuz-7", nil))), "there are 2"},
		"no erofs":           {deb("data.tar", tarOf(t, without("erofs.ko"))), "CONFIG_EROFS_FS"},
		"no overlay":         {deb("data.tar", tarOf(t, without("overlay.ko"))), "CONFIG_OVERLAY_FS"},
		"no dependency":      {deb("data.tar", tarOf(t, without("libcrc32c.ko"))), "CONFIG_LIBCRC32C"},
		"nothing built in":   {deb("data.tar", tarOf(t, without(builtinFile))), "CONFIG_VIRTIO_MMIO"},
		"a module in a ring": {deb("data.tar", tarOf(t, with(modules+"libcrc32c.ko", module("erofs")))), "needs itself"},
		"not a module":       {deb("data.tar", tarOf(t, with(modules+"erofs.ko", []byte("text")))), "erofs.ko"},
		"a module twice":     {deb("data.tar", twice(t, modules+"erofs.ko")), "exists"},
		"huge module":        {deb("data.tar.gz", pack(t, ".gz", tarOf(t, with(modules+"erofs.ko.gz", pack(t, ".gz", make([]byte, maxModule+1)))))), "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := Install(t.Context(), dir, writeTemp(t, "file", c.data), nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q in it", err, c.want)
			}
			if _, err := Open(dir); !errors.Is(err, ErrNone) || !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("then open: %v", err)
			}
			checkEmpty(t, dir)
		})
	}
}

// twice is an archive with a file that is there two times.
func twice(t *testing.T, name string) []byte {
	t.Helper()
	one := tarOf(t, map[string][]byte{name: module("")})
	return append(one[:len(one)-1024], tarOf(t, files(t, ""))...)
}

// TestInstallEscapes is of packages that want to write elsewhere. Their links are not made, so that nothing leads out.
func TestInstallEscapes(t *testing.T) {
	outside := t.TempDir()
	all := files(t, "")
	all["../../../../escaped.ko"] = module("")
	all["/"+outside+"/absolute.ko"] = module("")
	all["boot/link/through.ko"] = module("")
	data := tarOf(t, all, tar.Header{Typeflag: tar.TypeSymlink, Name: "./boot/link", Linkname: outside},
		tar.Header{Typeflag: tar.TypeLink, Name: "./boot/vmlinuz-hard", Linkname: "/etc/passwd"},
		tar.Header{Typeflag: tar.TypeFifo, Name: "./boot/vmlinuz-pipe"}, tar.Header{Typeflag: tar.TypeChar, Name: "./boot/vmlinuz-device", Devmajor: 1, Devminor: 5})
	top := t.TempDir()
	k, err := Install(t.Context(), filepath.Join(top, "a", "b", "kernels"), writeTemp(t, "k.deb", deb("data.tar", data)), nil)
	if err != nil {
		t.Fatal(err)
	}
	checkInstalled(t, k)
	for _, dir := range []string{outside, top, filepath.Join(top, "a"), filepath.Join(top, "a", "b")} {
		if found, _ := filepath.Glob(filepath.Join(dir, "*.ko")); len(found) > 0 {
			t.Errorf("escaped: %q", found)
		}
	}
}

func TestInstallDirectory(t *testing.T) {
	t.Run("a pipe in place of a module", func(t *testing.T) {
		from := extract(t, files(t, ""))
		path := filepath.Join(from, "lib/modules", release, "kernel/drivers/erofs.ko")
		if err := errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := Install(t.Context(), t.TempDir(), from, nil); err == nil || !strings.Contains(err.Error(), "CONFIG_EROFS_FS") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("a pipe", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "pipe")
		if err := unix.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Install(t.Context(), t.TempDir(), path, nil); err == nil || !strings.Contains(err.Error(), "regular file") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("one image", func(t *testing.T) {
		k, err := Install(t.Context(), t.TempDir(), writeTemp(t, "bzImage", ownImage(t, ".xz")), nil)
		if err != nil || len(k.Modules) != 0 {
			t.Fatalf("%+v, %v", k, err)
		}
		if runtime.GOARCH == "amd64" && (k.Version != release || k.Vmlinux == "") {
			t.Errorf("%+v", k)
		}
	})
	t.Run("ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		dir := t.TempDir()
		_, err := Install(ctx, dir, extract(t, files(t, "")), func(string) { cancel() })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		checkEmpty(t, dir)
	})
}

func TestKernels(t *testing.T) {
	dir := t.TempDir()
	if all, err := List(filepath.Join(dir, "none")); err != nil || len(all) != 0 {
		t.Errorf("list of none: %v, %v", all, err)
	}
	first := extract(t, files(t, ""))
	changed := files(t, "")
	changed["lib/modules/"+release+"/kernel/drivers/overlay.ko"] = elfFile(elf.EM_X86_64, ".modinfo", []byte("depends=\x00version=2\x00"))
	second := extract(t, changed)
	// Installs at the same time, and what a killed one has left.
	if err := os.Mkdir(filepath.Join(dir, installing+"dead"), 0o700); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for _, from := range []string{first, first, second, first} {
		all.Go(func() {
			if _, err := Install(t.Context(), dir, from, nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	a, err := Install(t.Context(), dir, first, nil)
	if err != nil {
		t.Fatal(err)
	}
	list, err := List(dir)
	if err != nil || len(list) != 2 {
		t.Fatalf("list %+v, %v", list, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".install-*")); len(left) > 0 {
		t.Errorf("left %q", left)
	}
	b := list[slices.IndexFunc(list, func(k Kernel) bool { return k.ID != a.ID })]
	if b.Current || !a.Current {
		t.Errorf("current: %v, %v", a.Current, b.Current)
	}

	for _, id := range []string{"", ".", "..", "current", "0123456789ab", strings.Repeat("a", 1000), "../" + filepath.Base(dir) + "/" + b.ID} {
		if err := Remove(dir, id); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("remove %.20q: %v", id, err)
		}
		if _, err := ByID(dir, id); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("by id %.20q: %v", id, err)
		}
	}
	if err := Remove(dir, a.ID); err == nil || !strings.Contains(err.Error(), "install another one first") {
		t.Errorf("remove the current one: %v", err)
	}

	// A damaged one is seen, can be installed again, and can be removed.
	info := filepath.Join(dir, b.ID, infoFile)
	for range 2 {
		if err := os.WriteFile(info, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if list, err := List(dir); err == nil || !strings.Contains(err.Error(), b.ID) || len(list) != 1 {
			t.Errorf("list with a damaged one: %+v, %v", list, err)
		}
		if k, err := Install(t.Context(), dir, second, nil); err != nil || k.ID != b.ID {
			t.Errorf("install in place of a damaged one: %+v, %v", k, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, a.ID, infoFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Remove(dir, a.ID), Remove(dir, b.ID)); err != nil {
		t.Error(err)
	}
	if _, err := Open(dir); !errors.Is(err, ErrNone) {
		t.Errorf("open without any: %v", err)
	}
	checkEmpty(t, dir)
}
