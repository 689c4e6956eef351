//go:build linux

// Package roots has the root file systems of templates: the base, of the host's /usr, of an image of it or of a container image; and the
// container images that templates begin with. It removes those that nothing needs. Only node imports it, and cmd/rundlet for the settings of images.
package roots

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"

	"github.com/rundlet/rundlet/agent/embedded"
	"github.com/rundlet/rundlet/image/catalogue"
	"github.com/rundlet/rundlet/image/hostbase"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node/space"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// Config is what Open needs. The fields are those of node.Config with the same names.
type Config struct {
	Dirs              layout.Layout
	Store             *store.Store
	Nameservers       []netip.Addr
	Mirrors           map[string]string
	PrivateRegistries []string
	BaseImage         bool
	// ImagesOnly: the driver takes nothing else as a root.
	ImagesOnly    bool
	BaseContainer string
	Ephemeral     bool
	Log           *slog.Logger
}

// Roots are those of one node. Safe for concurrent use.
type Roots struct {
	cfg    Config
	images *images
	made   *baseImages
	base   func(context.Context) (template.Image, error)
	stamp  func() string
}

// Open opens the roots of a node. The caller closes them.
func Open(ctx context.Context, cfg Config) (*Roots, error) {
	all, err := openImages(cfg)
	if err != nil {
		return nil, err
	}
	r := &Roots{cfg: cfg, images: all, stamp: func() string { return hostbase.HostStamp("/") }}
	var ready func(hostbase.Base) bool
	r.base = func(ctx context.Context) (template.Image, error) { return baseImage(ctx, cfg, ready) }
	switch {
	case cfg.BaseContainer != "":
		container := &containerBase{name: cfg.BaseContainer, db: cfg.Store, log: func(line string) {
			cfg.Log.Info("base template of a container image", "image", cfg.BaseContainer, "progress", line)
		}}
		if container.images, err = all.of(cfg.BaseContainer); err != nil {
			return nil, err
		}
		r.base, r.stamp = container.image, container.stamp
	case cfg.ImagesOnly:
		r.made = newBaseImages(cfg.Log, func() (int64, error) { return roomForImage(cfg.Dirs.Base()) })
		r.base = func(ctx context.Context) (template.Image, error) { return onlyImage(ctx, cfg, r.made) }
	case cfg.BaseImage:
		made := newBaseImages(cfg.Log, func() (int64, error) { return roomForImage(cfg.Dirs.Base()) })
		r.made, ready = made, made.ready
		r.stamp = func() string { return hostbase.HostStamp("/") + made.stamp() }
	case cfg.Ephemeral: // Another choice would delete the daemon's.
		ready = storedImage(ctx, cfg.Store)
		r.base = func(ctx context.Context) (template.Image, error) {
			if img, found := storedContainer(ctx, cfg.Store, ""); found {
				return img, nil
			}
			return baseImage(ctx, cfg, ready)
		}
	}
	return r, nil
}

// Close breaks off what is done in the background, and waits for that.
func (r *Roots) Close(ctx context.Context) error {
	if r.made == nil {
		return nil
	}
	return r.made.close(ctx)
}

// Base returns what the base is made of now.
func (r *Roots) Base(ctx context.Context) (template.Image, error) { return r.base(ctx) }

// Stamp changes when that does.
func (r *Roots) Stamp() string { return r.stamp() }

// HasImage reports whether a container image is there.
func (r *Roots) HasImage(name string) bool { return r.images.has(name) }

// Image returns the root of a container image, which stays until ctx ends: until then a build has no claim that names it. One that is not there is pulled; clients name it, so it can be from a public
// registry, or from what the operator allows. What needs credentials is pulled with them each time, and has no name here.
func (r *Roots) Image(ctx context.Context, name string, login *sandbox.Registry, progress func(string)) (template.Image, error) {
	return r.images.root(ctx, name, login, progress)
}

// Hold keeps a root that is an image until ctx ends: a build can begin with a template that is deleted, or built anew, before a row of
// the build names its root. The error is that of a root that is gone already.
func (r *Roots) Hold(ctx context.Context, root string) error {
	release, err := r.images.catalogue.Hold(root)
	if err == nil {
		context.AfterFunc(ctx, release)
	}
	return err
}

// Fold makes an image of the root of a machine and of what it wrote over it: see catalogue.Fold. It removes those of former builds before,
// which nothing needs any more: a template that is built again and again would fill the disk with them until a start.
func (r *Roots) Fold(ctx context.Context, root string, layerBytes int64, layer, times func(context.Context, io.Writer) error) (string, func(), error) {
	if err := r.images.catalogue.PruneFolded(func() ([]string, error) {
		keep, known, err := space.Roots(ctx, r.cfg.Store)
		if err == nil && !known {
			err = errUnknown
		}
		return keep, err
	}); err != nil && !errors.Is(err, errUnknown) {
		r.cfg.Log.Warn("could not remove former images of templates", "error", err)
	}
	return r.images.catalogue.Fold(ctx, root, layerBytes, layer, times)
}

// errUnknown says that orphans may need images, and nothing says which.
var errUnknown = errors.New("the images that are needed are not known")

// Prune removes the bases, and the images without a name, but those that keep returns.
func (r *Roots) Prune(_ context.Context, keep func() ([]string, error)) error {
	var containers *catalogue.Catalogue
	if !r.cfg.Ephemeral {
		containers = r.images.catalogue
	}
	return prune(r.cfg.Dirs, containers, keep)
}

// agentOf returns the path of the agent, which it makes, and the addresses of name servers as texts.
func agentOf(cfg Config) (path string, nameservers []string, err error) {
	if err := os.MkdirAll(cfg.Dirs.AgentDir(), 0o700); err != nil {
		return "", nil, err
	}
	for _, addr := range cfg.Nameservers {
		nameservers = append(nameservers, addr.String())
	}
	path, err = embedded.Extract(cfg.Dirs.AgentDir())
	return path, nameservers, err
}
