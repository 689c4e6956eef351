package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/rundlet/rundlet/agent/embedded"
	"github.com/rundlet/rundlet/image/catalogue"
	"github.com/rundlet/rundlet/image/guest"
	"github.com/rundlet/rundlet/image/oci/registry"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
)

// images are the container images that templates begin with.
type images struct {
	catalogue *catalogue.Catalogue
	mirrors   map[string]string
}

func (a *assembly) openImages() (images, error) {
	if err := os.MkdirAll(a.Dirs.AgentDir(), 0o700); err != nil {
		return images{}, err
	}
	agent, err := embedded.Extract(a.Dirs.AgentDir())
	if err != nil {
		return images{}, err
	}
	guests := guest.Config{AgentPath: agent}
	for _, addr := range a.cfg.Nameservers {
		guests.Nameservers = append(guests.Nameservers, addr.String())
	}
	c, err := catalogue.Open(catalogue.Config{Dir: a.Dirs.Images(), Guest: guests})
	return images{c, a.cfg.Mirrors}, err
}

// has reports whether an image is there.
func (i images) has(name string) bool {
	_, err := i.catalogue.Find(name)
	return err == nil
}

// root returns the root of an image. One that is not there is pulled; clients name it, so it can be from a public
// registry or from a mirror of the operator.
func (i images) root(ctx context.Context, name string, login *sandbox.Registry, progress func(string)) (template.Image, error) {
	root, err := i.catalogue.Image(ctx, name)
	if errors.Is(err, catalogue.ErrNotFound) {
		progress("Pulling " + name)
		said := ""
		_, err = i.catalogue.Pull(ctx, name, registry.Config{Credentials: credentials(login), Mirrors: i.mirrors, PublicOnly: true}, func(p catalogue.Progress) {
			if line := progressLine(p); line != said {
				said = line
				progress(line)
			}
		})
		if err == nil {
			root, err = i.catalogue.Image(ctx, name)
		}
	}
	if err != nil {
		return template.Image{}, fmt.Errorf("image %.300s: %w", name, err)
	}
	env := map[string]string{}
	for _, entry := range root.Config.Env {
		if name, value, ok := strings.Cut(entry, "="); ok {
			env[name] = value
		}
	}
	return template.Image{Spec: root.Spec, Stamp: root.Stamp, Env: env}, nil
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

// prune removes the container images without a name, but for the roots of keep.
func (i images) prune(keep []string) error {
	_, err := i.catalogue.Prune(keep)
	return err
}
