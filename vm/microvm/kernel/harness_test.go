//go:build linux

package kernel

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
)

const release = "6.1.0-test"

// packers pack as the tools of packages and of the kernel do.
var packers = map[string]func(io.Writer) (io.WriteCloser, error){
	"":     func(w io.Writer) (io.WriteCloser, error) { return plain{w}, nil },
	".gz":  func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
	".xz":  func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) },
	".zst": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
	".lz4": func(w io.Writer) (io.WriteCloser, error) {
		out := lz4.NewWriter(w)
		return out, out.Apply(lz4.LegacyOption(true))
	},
}

type plain struct{ io.Writer }

func (plain) Close() error { return nil }

func pack(t testing.TB, how string, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := packers[how](&out)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// elfFile is a file of this architecture with one section.
func elfFile(machine elf.Machine, section string, content []byte) []byte {
	names := "\x00" + section + "\x00.shstrtab\x00"
	at := uint64(64)
	header := elf.Header64{Type: uint16(elf.ET_REL), Machine: uint16(machine), Version: 1, Ehsize: 64, Shentsize: 64, Shnum: 3, Shstrndx: 2,
		Shoff: at + uint64(len(content)+len(names))}
	copy(header.Ident[:], "\x7fELF\x02\x01\x01")
	var out bytes.Buffer
	for _, v := range []any{
		header, content, []byte(names), elf.Section64{},
		elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: at, Size: uint64(len(content))},
		elf.Section64{Name: uint32(len(section) + 2), Type: uint32(elf.SHT_STRTAB), Off: at + uint64(len(content)), Size: uint64(len(names))},
	} {
		_ = binary.Write(&out, binary.LittleEndian, v)
	}
	return out.Bytes()
}

func module(depends string) []byte {
	return elfFile(elf.EM_X86_64, ".modinfo", []byte("license=GPL\x00depends="+depends+"\x00"))
}

// ownImage is an image that is a kernel for this host.
func ownImage(t testing.TB, how string) []byte {
	t.Helper()
	if runtime.GOARCH == "arm64" {
		image := make([]byte, 4096)
		copy(image[armMagic:], "ARM\x64")
		return image
	}
	return bzImage(t, how, vmlinux)
}

var vmlinux = elfFile(elf.EM_X86_64, ".text", bytes.Repeat([]byte("kernel "), 10_000))

// bzImage is one with a compressed kernel, as arch/x86/boot makes it.
func bzImage(t testing.TB, how string, kernel []byte) []byte {
	t.Helper()
	const sectors, before = 4, 100
	payload := pack(t, how, kernel)
	if how != ".gz" && how != "" {
		payload = binary.LittleEndian.AppendUint32(payload, uint32(len(kernel)))
	}
	image := make([]byte, (sectors+1)*512+before)
	image[x86Sectors] = sectors
	copy(image[x86Magic:], "HdrS")
	binary.LittleEndian.PutUint16(image[x86Version:], 0x20f)
	binary.LittleEndian.PutUint16(image[x86Release:], 0x300)
	copy(image[0x500:], release+" (somebody) #1")
	binary.LittleEndian.PutUint32(image[x86Payload:], before)
	binary.LittleEndian.PutUint32(image[x86Payload+4:], uint32(len(payload)))
	return append(append(image, payload...), "the rest"...)
}

// files are those of a package whose modules are packed.
func files(t testing.TB, packed string) map[string][]byte {
	t.Helper()
	dir := "lib/modules/" + release + "/"
	all := map[string][]byte{
		"boot/vmlinuz-" + release: ownImage(t, ".gz"),
		"boot/config-" + release:  []byte("CONFIG_X=y\n"),
		dir + builtinFile:         []byte("kernel/fs/ext4/ext4.ko\nkernel/drivers/virtio/virtio_mmio.ko\n"),
		dir + "modules.order":     []byte("x"),
	}
	for name, depends := range map[string]string{
		"virtio": "virtio_ring", "virtio_ring": "", "virtio_console": "virtio", "virtio_blk": "virtio,virtio_ring", "virtio_net": "net-failover,virtio",
		"net_failover": "", "overlay": "", "erofs": "libcrc32c", "libcrc32c": "", "virtio-rng": "virtio", "floppy": "",
	} {
		all[dir+"kernel/drivers/"+name+".ko"+packed] = pack(t, packed, module(depends))
	}
	return all
}

func tarOf(t testing.TB, files map[string][]byte, more ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	write := func(h *tar.Header, data []byte) {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range more {
		write(&h, nil)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		write(&tar.Header{Typeflag: tar.TypeReg, Name: "./" + name, Mode: 0o600, Size: int64(len(files[name]))}, files[name])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// deb is a package with a data.tar.
func deb(name string, data []byte) []byte {
	out := []byte(arMagic)
	for _, member := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar.xz", []byte("odd")}, {name, data}} {
		out = fmt.Appendf(out, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", member.name, 0, 0, 0, 0o100644, len(member.data))
		out = append(out, member.data...)
		if len(member.data)%2 == 1 {
			out = append(out, '\n')
		}
	}
	return out
}

func writeTemp(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// extract is a directory with the files of a package.
func extract(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// checkEmpty checks that an install has left nothing but its lock.
func checkEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		if entry.Name() != lockFile {
			t.Errorf("%s is left", entry.Name())
		}
	}
}
