//go:build linux

// Package catalogue keeps container images as root file systems: for each content one EROFS
// image, in which a guest boots, and for each name a record. It reads them from archives and
// registries. Processes can share its directory. It may import the packages of image, vm,
// internal/flock and internal/format; node, runtime and cmd may import it.
package catalogue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rundlet/rundlet/image/guest"
	"github.com/rundlet/rundlet/image/oci"
	"github.com/rundlet/rundlet/image/oci/archive"
	"github.com/rundlet/rundlet/image/oci/layers"
	"github.com/rundlet/rundlet/image/oci/registry"
	"github.com/rundlet/rundlet/internal/flock"
	"github.com/rundlet/rundlet/vm"
)

// Config says where a catalogue is and what its images are for.
type Config struct {
	// Dir holds the images. It is made if missing.
	Dir string
	// Guest is what images get to be roots of guests. Images that are there stay as they are;
	// a Catalogue that makes none needs no Guest.
	Guest guest.Config
	// Limits bound each image; zero values are defaults.
	Limits layers.Limits
	// Room, if not nil, says how many bytes of the disk may be written now. It is asked before an image is made, which takes half of
	// it, as its layers do meanwhile, and again and again while it is made: others write, too.
	Room func() (int64, error)
	// MaxBytes, if positive, is how many bytes the files of all images may have together.
	MaxBytes int64
}

// Catalogue is a directory of images. Methods may be called concurrently, and from several
// processes.
type Catalogue struct {
	cfg Config
	// tree has a token while the tree of an image is in memory: those of several at a time may not fit.
	tree chan struct{}
}

// Info describes an image that is there.
type Info struct {
	// Format is that of the record; see recordFormat.
	Format int `json:"format"`
	// Digest is that of the image's configuration, and Manifest that of its manifest, if it had one.
	Digest   string `json:"digest"`
	Manifest string `json:"manifest,omitempty"`
	// File is the name of the image in the directory. It changes when a guest would see a change.
	File   string `json:"file"`
	Config Run    `json:"config"`
	// Created is when the image was built, and Added when it came here.
	Created time.Time `json:"created"`
	Added   time.Time `json:"added"`
	// Bytes is the size of the file, LayerBytes that of the layers without compression, and
	// Files how many names the image has.
	Bytes      int64 `json:"bytes"`
	LayerBytes int64 `json:"layer_bytes"`
	Files      int   `json:"files"`
	// Devices and Attributes count what is left out: device nodes, and files with extended attributes.
	Devices    int `json:"devices_left_out"`
	Attributes int `json:"attributes_left_out"`
}

// Run is what the configuration of an image says about running programs in it.
type Run struct {
	Env        []string `json:"env,omitempty"`
	WorkingDir string   `json:"working_dir,omitempty"`
	User       string   `json:"user,omitempty"`
	Entrypoint []string `json:"entrypoint,omitempty"`
	Cmd        []string `json:"cmd,omitempty"`
}

// Entry is an image under a name. Reference is empty for one that has none.
type Entry struct {
	Reference string `json:"reference"`
	Info
}

// Progress reports how far a Load or a Pull is. Total is 0 if it is not known.
type Progress struct {
	// Step is "layers", in bytes as they come, or "image", in bytes of files.
	Step        string
	Done, Total int64
}

var (
	// ErrNotFound means that the catalogue has no such image.
	ErrNotFound = errors.New("no such image")
	// ErrAmbiguous means that the begin of a digest is that of several images.
	ErrAmbiguous = errors.New("several images have digests that begin so")
	// ErrFull means that an image was not made because the disk has no room for it, or because all images together would be too large.
	ErrFull = errors.New("not enough room for the image")
)

const (
	namesDir   = "names"
	stagingDir = "staging"
	lockFile   = ".lock"
)

// Open returns the catalogue of a directory, and removes what a process left in it that
// was killed.
func Open(cfg Config) (*Catalogue, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	cfg.Dir = dir
	c := &Catalogue{cfg: cfg, tree: make(chan struct{}, 1)}
	for _, dir := range []string{"", namesDir, stagingDir} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, dir), 0o700); err != nil {
			return nil, fmt.Errorf("images: %w", err)
		}
	}
	return c, c.locked(c.sweep) // The file of the lock is there from now on: what is left of an image can be counted.
}

// sweep removes staged files whose makers are gone.
func (c *Catalogue) sweep() error {
	locks, err := filepath.Glob(filepath.Join(c.cfg.Dir, stagingDir, "*"+lockFile))
	if err != nil {
		return err
	}
	for _, name := range locks {
		lock, err := flock.Try(name)
		if errors.Is(err, flock.ErrHeld) {
			continue
		}
		if err == nil {
			err = os.RemoveAll(strings.TrimSuffix(name, lockFile))
			lock.Close()
		}
		if err != nil {
			return fmt.Errorf("images: %w", err)
		}
	}
	return nil
}

// locked calls fn while no other call changes names or removes images.
func (c *Catalogue) locked(fn func() error) error {
	lock, err := flock.Wait(filepath.Join(c.cfg.Dir, lockFile))
	if err != nil {
		return err
	}
	defer lock.Close()
	return fn()
}

// Load reads an image from an archive: an OCI layout, a tar file of one, or what "docker save"
// writes. The reference chooses one of several images, and is its name; if it is empty, the
// image keeps the names that it has there. A second call for the same image waits and shares
// the result. progress may be nil.
func (c *Catalogue) Load(ctx context.Context, path, reference string, progress func(Progress)) (Entry, error) {
	entry, err := c.load(ctx, path, reference, progress)
	if err != nil {
		return Entry{}, fmt.Errorf("load image from %s: %w", path, err)
	}
	return entry, nil
}

func (c *Catalogue) load(ctx context.Context, path, reference string, progress func(Progress)) (Entry, error) {
	spool := filepath.Join(c.cfg.Dir, stagingDir)
	most := c.archiveBytes()
	if c.cfg.Room != nil {
		room, err := c.room()
		if err != nil {
			return Entry{}, err
		}
		most = min(most, room/3) // Its layers and the image take as much each.
	}
	a, err := archive.Open(ctx, path, spool, most)
	if err != nil {
		return Entry{}, err
	}
	defer a.Close()
	image, err := a.Image(ctx, reference)
	if err != nil {
		return Entry{}, err
	}
	names := []string{reference}
	if reference == "" {
		names = nil
		for _, name := range image.Names {
			if strings.ContainsAny(name, "/:") { // Annotations can have a tag only.
				names = append(names, name)
			}
		}
	}
	entry, release, err := c.add(ctx, image, names, progress)
	if err != nil {
		return Entry{}, err
	}
	release()
	return entry, nil
}

// Pull gets an image from a registry; its name is the reference. Another call for the same image
// waits and shares the result. Nothing removes the image until release is called, as with that of Image. progress may be nil.
func (c *Catalogue) Pull(ctx context.Context, reference string, from registry.Config, progress func(Progress)) (entry Entry, release func(), err error) {
	return c.pull(ctx, reference, []string{reference}, from, progress)
}

// PullUnnamed is Pull of an image that others must not find by its name: they may have no access to it. It is found by
// its digest, and goes with a Prune when nothing needs it.
func (c *Catalogue) PullUnnamed(ctx context.Context, reference string, from registry.Config, progress func(Progress)) (entry Entry, release func(), err error) {
	return c.pull(ctx, reference, nil, from, progress)
}

func (c *Catalogue) pull(ctx context.Context, reference string, names []string, from registry.Config, progress func(Progress)) (Entry, func(), error) {
	image, err := registry.Image(ctx, reference, from)
	if err != nil {
		return Entry{}, nil, err
	}
	entry, release, err := c.add(ctx, image, names, progress)
	if err != nil {
		return Entry{}, nil, fmt.Errorf("pull %s: %w", reference, err)
	}
	return entry, release, nil
}

// Root is an image as the root of a guest.
type Root struct {
	// Spec starts the agent in it.
	Spec vm.Spec
	// Stamp changes when a snapshot that is made of the root would differ.
	Stamp string
	// Config is for the programs of the guest; the agent has the PATH of Env only.
	Config Run
}

// Image returns the root of an image that is there. No process removes the image until release is called, or this one ends: what boots
// in it is saved later, and until then no row names it.
func (c *Catalogue) Image(_ context.Context, reference string) (root Root, release func(), err error) {
	err = c.locked(func() error {
		entry, err := c.Find(reference)
		if err == nil {
			root = c.Root(entry)
			release, err = c.hold(entry.File)
		}
		return err
	})
	if err != nil {
		return Root{}, nil, err
	}
	return root, release, nil
}

// Root returns an image as the root of a guest.
func (c *Catalogue) Root(entry Entry) Root {
	return Root{
		Spec:   vm.Spec{Rootfs: filepath.Join(c.cfg.Dir, entry.File), Args: []string{guest.AgentPath}, Env: guest.Env(entry.Config.Env), Cwd: "/"},
		Stamp:  entry.File,
		Config: entry.Config,
	}
}

// normal returns the names of references.
func normal(references []string) (names []string, err error) {
	for _, reference := range references {
		name, err := oci.Normal(reference)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}
