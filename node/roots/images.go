//go:build linux

package roots

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/image/catalogue"
	"github.com/rundlet/rundlet/image/guest"
	"github.com/rundlet/rundlet/image/oci"
	"github.com/rundlet/rundlet/image/oci/registry"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
)

// images are the container images that templates begin with.
type images struct {
	catalogue *catalogue.Catalogue
	mirrors   map[string]string
	private   []string // hosts at private addresses that clients may name
}

func openImages(cfg Config) (*images, error) {
	agent, nameservers, err := agentOf(cfg)
	if err != nil {
		return nil, err
	}
	of, err := imagesOf(cfg.Dirs, guest.Config{AgentPath: agent, Nameservers: nameservers})
	if err != nil {
		return nil, err
	}
	c, err := catalogue.Open(of)
	return &images{catalogue: c, mirrors: cfg.Mirrors, private: cfg.PrivateRegistries}, err
}

// ImagesConfig is that of container images in dir: the disk stays above the floor at which templates are built.
func ImagesConfig(dir string, guests guest.Config) catalogue.Config {
	return catalogue.Config{Dir: dir, Guest: guests, Room: func() (int64, error) {
		return roomAbove(dir, func(f disk.Floors) int64 { return f.Build })
	}}
}

// imagesOf is ImagesConfig for images that clients have pulled: they take half of the disk at most.
func imagesOf(dirs layout.Layout, guests guest.Config) (catalogue.Config, error) {
	cfg := ImagesConfig(dirs.Images(), guests)
	total, err := host.Host{}.TotalBytes(dirs.StateDir)
	cfg.MaxBytes = total / 2
	return cfg, err
}

// has reports whether an image is there.
func (i *images) has(name string) bool {
	entry, err := i.catalogue.Find(name)
	return err == nil && entry.Reference != ""
}

// root is Roots.Image.
func (i *images) root(ctx context.Context, name string, login *sandbox.Registry, progress func(string)) (template.Image, error) {
	root, release, err := i.find(ctx, name, login, progress)
	if err != nil {
		return template.Image{}, fmt.Errorf("image %.300s: %w", name, err)
	}
	context.AfterFunc(ctx, release)
	env, leftOut := guest.Variables(root.Config.Env)
	if leftOut > 0 {
		progress(fmt.Sprintf("%d variables of the image are left out: no program can have them", leftOut))
	}
	return template.Image{Spec: root.Spec, Stamp: root.Stamp, Env: env}, nil
}

// find returns the root of an image, which stays until release is called.
func (i *images) find(ctx context.Context, name string, login *sandbox.Registry, progress func(string)) (root catalogue.Root, release func(), err error) {
	pull := i.catalogue.PullUnnamed
	if login == nil {
		entry, err := i.catalogue.Find(name)
		switch {
		case err == nil && entry.Reference != "": // A client must not find by its digest what has no name.
			root, release, err = i.catalogue.Image(ctx, entry.Reference)
			if !errors.Is(err, catalogue.ErrNotFound) { // It was removed since.
				return root, release, err
			}
		case err != nil && !errors.Is(err, catalogue.ErrNotFound):
			return catalogue.Root{}, nil, err
		}
		pull = i.catalogue.Pull
	}
	progress("Pulling " + name)
	var mu sync.Mutex
	said := ""
	entry, release, err := pull(ctx, name, registry.Config{Credentials: credentials(login), Mirrors: i.mirrors, PublicOnly: !i.isPrivate(name)}, func(p catalogue.Progress) {
		mu.Lock()
		defer mu.Unlock()
		if line := progressLine(p); line != said {
			said = line
			progress(line)
		}
	})
	if err != nil {
		return catalogue.Root{}, nil, err
	}
	return i.catalogue.Root(entry), release, nil
}

// of returns the same images for the operator, who names this one: its registry may be anywhere.
func (i *images) of(name string) (*images, error) {
	full, err := oci.Normal(name)
	if err != nil {
		return nil, fmt.Errorf("the image of the template %s: %w", template.BaseAlias, err)
	}
	host, _, _ := strings.Cut(full, "/")
	operators := *i
	operators.private = append(slices.Clip(i.private), host)
	return &operators, nil
}

// isPrivate reports whether the registry of an image may be at a private address.
func (i *images) isPrivate(name string) bool {
	full, err := oci.Normal(name)
	host, _, _ := strings.Cut(full, "/")
	return err == nil && slices.Contains(i.private, host)
}

// progressLine says how far a pull is, in tenths.
func progressLine(p catalogue.Progress) string {
	what := map[string]string{"layers": "layers", "image": "files"}[p.Step]
	if p.Total <= 0 {
		return fmt.Sprintf("Reading %s", what)
	}
	return fmt.Sprintf("Reading %s: %d%% of %d MiB", what, min(10*p.Done/p.Total, 10)*10, p.Total>>20)
}

func credentials(r *sandbox.Registry) *registry.Credentials {
	if r == nil {
		return nil
	}
	return &registry.Credentials{Type: r.Type, Username: r.Username, Password: r.Password, ServiceAccountJSON: r.ServiceAccountJSON,
		AWSAccessKeyID: r.AWSAccessKeyID, AWSSecretAccessKey: r.AWSSecretAccessKey, AWSRegion: r.AWSRegion}
}
