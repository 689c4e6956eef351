//go:build linux

package kernel

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/pierrec/lz4/v4"
)

// Where an image has what: Documentation/arch/x86/boot.rst, Documentation/arch/arm64/booting.rst.
const (
	x86Sectors = 0x1f1 // of 512 bytes, after the first
	x86Magic   = 0x202 // "HdrS"
	x86Version = 0x206 // of the header
	x86Release = 0x20e // where the text with the kernel's release is, less 512
	x86Payload = 0x248 // where the compressed kernel is, after the sectors, and its length
	x86Header  = 0x250
	armMagic   = 0x38 // "ARM\x64"
	// payloadSince is the version of the header that has x86Payload first.
	payloadSince = 0x208
	lz4Legacy    = "\x02\x21\x4c\x18"
)

// single is a kernel of one file, which has its drivers built in.
func single(path string) (Tree, error) {
	t := Tree{Image: path, version: strings.TrimPrefix(filepath.Base(path), "vmlinuz-"), whole: true}
	in, err := openUnpacked(path)
	if err != nil {
		return t, err
	}
	defer in.Close()
	// The text is in the first sectors.
	head, err := io.ReadAll(io.LimitReader(in, 64<<10))
	if err != nil {
		return t, err
	}
	if isBzImage(head) {
		at := int(binary.LittleEndian.Uint16(head[x86Release:])) + 512
		if at < len(head) {
			release, _, _ := bytes.Cut(head[at:min(at+100, len(head))], []byte(" "))
			t.version = string(release)
		}
	}
	return t, nil
}

func isBzImage(head []byte) bool {
	return len(head) >= x86Header && string(head[x86Magic:x86Magic+4]) == "HdrS"
}

// checkImage refuses a file that is not a kernel of this processor architecture.
func checkImage(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, x86Header)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	head = head[:n]
	return checkArchitecture(head, machineOf(f), runtime.GOARCH)
}

func checkArchitecture(head []byte, machine elf.Machine, goarch string) error {
	of := ""
	switch {
	case isBzImage(head) || machine == elf.EM_X86_64:
		of = "amd64"
	case machine == elf.EM_AARCH64 || len(head) > armMagic+4 && string(head[armMagic:armMagic+4]) == "ARM\x64":
		of = "arm64"
	case bytes.HasPrefix(head, []byte("MZ\x00\x00zimg")):
		return errors.New("it is packed for EFI (CONFIG_EFI_ZBOOT), which microVMs cannot boot")
	default:
		return errors.New("it is not a kernel: neither a bzImage, nor an Image of arm64, nor an ELF file")
	}
	if of != goarch {
		return fmt.Errorf("it is a kernel for %s, and this host is %s", of, goarch)
	}
	return nil
}

// machineOf is the architecture of an ELF file; 0 if it is none.
func machineOf(f io.ReaderAt) elf.Machine {
	file, err := elf.NewFile(f)
	if err != nil {
		return elf.EM_NONE
	}
	return file.Machine
}

// extractVmlinux makes an ELF file of a kernel's image, and returns the name of the file beside the image that has it: the image itself, if
// it is one. Firecracker boots no other on x86, and QEMU boots it faster.
func extractVmlinux(ctx context.Context, image, to string) (name string, err error) {
	f, err := os.Open(image)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if machineOf(f) != elf.EM_NONE {
		return filepath.Base(image), nil
	}
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	in, size, err := payload(f, info.Size())
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(to)
		}
	}()
	if err := writeFile(to, &bounded{ctx, in, maxImage, "the kernel in the image"}); err != nil {
		return "", fmt.Errorf("unpack the kernel in the image: %w", err)
	}
	out, err := os.Open(to)
	if err != nil {
		return "", err
	}
	defer out.Close()
	made, err := out.Stat()
	if err != nil {
		return "", err
	}
	if size >= 0 && made.Size() != size {
		return "", fmt.Errorf("the kernel in the image has %d bytes, and should have %d", made.Size(), size)
	}
	if machineOf(out) != elf.EM_X86_64 {
		return "", errors.New("what the image has compressed is not an ELF file of x86-64")
	}
	return filepath.Base(to), nil
}

// payload returns the kernel in a bzImage, and its size; less than 0 if that is not known.
func payload(f io.ReaderAt, length int64) (io.Reader, int64, error) {
	head := make([]byte, x86Header)
	if _, err := f.ReadAt(head, 0); err != nil || !isBzImage(head) {
		return nil, 0, errors.New("the image is not a bzImage")
	}
	if binary.LittleEndian.Uint16(head[x86Version:]) < payloadSince {
		return nil, 0, errors.New("the image does not say where its compressed kernel is")
	}
	sectors := int64(head[x86Sectors])
	if sectors == 0 {
		sectors = 4
	}
	start := (sectors+1)*512 + int64(binary.LittleEndian.Uint32(head[x86Payload:]))
	size := int64(binary.LittleEndian.Uint32(head[x86Payload+4:]))
	if size < 8 || start+size > length {
		return nil, 0, errors.New("the image is damaged: its compressed kernel is outside it")
	}
	ends := make([]byte, 8)
	if _, err := f.ReadAt(ends[:4], start); err != nil {
		return nil, 0, err
	}
	if bytes.HasPrefix(ends, []byte("\x1f\x8b")) { // Its last bytes are the size, by gzip's own format.
		in, err := unpacked(io.NewSectionReader(f, start, size))
		return in, -1, err
	}
	if _, err := f.ReadAt(ends[4:], start+size-4); err != nil {
		return nil, 0, err
	}
	// The build of the kernel has put the size behind the others.
	in, whole := io.NewSectionReader(f, start, size-4), int64(binary.LittleEndian.Uint32(ends[4:]))
	switch {
	case string(ends[:4]) == lz4Legacy:
		return lz4.NewReader(in), whole, nil
	case string(ends[:4]) == "\xfd7zX", string(ends[:4]) == "\x28\xb5\x2f\xfd":
		unpacking, err := unpacked(in)
		return unpacking, whole, err
	case string(ends[:4]) == "\x7fELF": // CONFIG_KERNEL_UNCOMPRESSED has no size.
		return io.NewSectionReader(f, start, size), -1, nil
	}
	return nil, 0, fmt.Errorf("the image is compressed in a way that is not known (it begins with %x)", ends[:4])
}
