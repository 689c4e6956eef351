//go:build linux

package oci

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm"
)

// An image is a file with an EROFS file system (Linux, fs/erofs/erofs_fs.h), whatever its
// name. gVisor reads it in the sandbox process, which needs no file server for it.
const (
	superOffset       = 1024
	superSize         = 128
	imageMagic        = 0xe0f5e1e2
	superHasChecksum  = 1
	leastImageBlock   = 12 // gVisor maps whole pages.
	greatestImageSize = math.MaxInt64 >> 1
	greatestBlock     = 16
)

// errNoImage says that a file is something else than an image.
var errNoImage = errors.New("not an EROFS image")

// IsImage reports whether a path leads to an image, of whatever features.
func IsImage(path string) bool {
	_, err := readSuper(path)
	return err == nil
}

// super is the begin of an image, to the end of the block with the superblock.
type super struct {
	data []byte
	size int64 // Of the file.
}

// readSuper reads at most one block of a regular file, and nothing of any other.
func readSuper(path string) (super, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // A pipe must not hang.
	if err != nil {
		return super{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return super{}, err
	}
	if !info.Mode().IsRegular() {
		return super{}, errNoImage
	}
	data, err := io.ReadAll(io.LimitReader(f, 1<<leastImageBlock))
	if err != nil {
		return super{}, err
	}
	if len(data) < superOffset+superSize || binary.LittleEndian.Uint32(data[superOffset:]) != imageMagic {
		return super{}, errNoImage
	}
	if bits := data[superOffset+12]; bits > leastImageBlock && bits <= greatestBlock {
		rest, err := io.ReadAll(io.LimitReader(f, 1<<bits-1<<leastImageBlock))
		if err != nil {
			return super{}, err
		}
		data = append(data, rest...)
	}
	return super{data, info.Size()}, nil
}

// check says why gVisor would not mount an image, or read beyond its end.
func (s super) check() error {
	b, le := s.data[superOffset:], binary.LittleEndian
	bits := b[12]
	switch features, devices := le.Uint32(b[80:]), le.Uint16(b[86:]); {
	case bits < leastImageBlock || bits > greatestBlock:
		return fmt.Errorf("%w: gvisor reads images with blocks of 4 to 64 KiB, this one has 2^%d bytes", vm.ErrUnsupported, bits)
	case features != 0 || devices != 0:
		return fmt.Errorf("%w: gvisor reads plain images, without compression, chunks and more devices; this one has the features %#x and %d devices",
			vm.ErrUnsupported, features, devices)
	case s.size > greatestImageSize || len(s.data) != 1<<bits || int64(le.Uint32(b[36:]))<<bits > s.size:
		return fmt.Errorf("%w: it has %d blocks of %d bytes in a file of %d bytes", vm.ErrInvalid, le.Uint32(b[36:]), 1<<bits, s.size)
	case int64(le.Uint32(b[40:]))<<bits+int64(le.Uint16(b[14:]))<<5 >= s.size:
		return fmt.Errorf("%w: its root is beyond its end", vm.ErrInvalid)
	}
	if le.Uint32(b[8:])&superHasChecksum != 0 {
		sum, plain := le.Uint32(b[4:]), append([]byte(nil), b...)
		clear(plain[4:8])
		if got := ^crc32.Checksum(plain, crc32.MakeTable(crc32.Castagnoli)); got != sum {
			return fmt.Errorf("%w: its superblock is damaged: the checksum is %#x, want %#x", vm.ErrInvalid, got, sum)
		}
	}
	return nil
}

// ImageID distinguishes an image from others by its superblock, which has a UUID, and by its
// size. gVisor loads a snapshot only over an image with the same superblock.
func ImageID(path string) (string, error) {
	s, err := readSuper(path)
	if err != nil {
		return "", fmt.Errorf("read the image %s: %w", path, err)
	}
	sum := sha256.New()
	sum.Write(s.data)
	fmt.Fprint(sum, s.size)
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// Images returns the files of a machine's images by their places in the guest: "/" and
// the targets of mounts.
func Images(spec vm.Spec) map[string]string {
	images := map[string]string{}
	if IsImage(spec.Rootfs) {
		images["/"] = filepath.Clean(spec.Rootfs)
	}
	for _, m := range spec.Mounts {
		if IsImage(m.Source) {
			images[m.Target] = filepath.Clean(m.Source)
		}
	}
	return images
}

// CheckImages refuses images that gVisor cannot read, and mounts that a machine with
// images cannot have: an image has no writable layer but the root's, and a directory would
// need a file server, whose mounts have no part in that layer.
func CheckImages(spec vm.Spec) error {
	images := Images(spec)
	for target, path := range images {
		s, err := readSuper(path)
		if err == nil {
			err = s.check()
		}
		if err != nil {
			return fmt.Errorf("image %.200q at %.100q: %w", path, target, err)
		}
	}
	for _, m := range spec.Mounts {
		switch {
		case images[m.Target] != "" && m.Overlay:
			return fmt.Errorf("%w: gvisor shows the image at %.100q for reading only", vm.ErrUnsupported, m.Target)
		case images["/"] != "" && images[m.Target] == "":
			return fmt.Errorf("%w: gvisor shows no directory in a root that is an image: make an image of what is at %.100q", vm.ErrUnsupported, m.Target)
		}
	}
	return nil
}

// rootfsAnnotation is what gVisor's annotations about the root begin with.
const rootfsAnnotation = "dev.gvisor.spec.rootfs."

// imageAnnotations make an image the root. They are part of every snapshot, so they name
// no directory for the layer: see LayerInFile.
func imageAnnotations(spec vm.Spec) map[string]string {
	a := map[string]string{rootfsAnnotation + "source": filepath.Clean(spec.Rootfs), rootfsAnnotation + "type": "erofs"}
	if LayerInFile(spec) {
		a[rootfsAnnotation+"overlay"] = "dir=/"
		if spec.DiskMiB > 0 {
			a[rootfsAnnotation+"options"] = fmt.Sprintf("size=%dm", spec.DiskMiB)
		}
	}
	return a
}

// NameRoot gives the image of the root in a container's spec another path, if there is one.
func NameRoot(spec *specs.Spec, path string) {
	if path != "" {
		spec.Annotations[rootfsAnnotation+"source"] = path
	}
}

// LayerInFile reports whether a machine has a writable layer above an image. gVisor makes
// the file for it only where there is a file server, so the sandbox process makes it.
func LayerInFile(spec vm.Spec) bool { return !spec.RootfsReadOnly && IsImage(spec.Rootfs) }
