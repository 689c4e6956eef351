//go:build linux

package roots

import (
	"context"
	"errors"
	"path/filepath"
	"slices"

	"github.com/rundlet/rundlet/image/catalogue"
	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/image/hostbase"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/vm"
)

// baseImage makes the root file system of "base" out of the host's /usr; one image if
// ready, which may be nil, says that the base has it.
func baseImage(ctx context.Context, cfg Config, ready func(hostbase.Base) bool) (template.Image, error) {
	agent, nameservers, err := agentOf(cfg)
	if err != nil {
		return template.Image{}, err
	}
	base, err := hostbase.Build(ctx, hostbase.Config{Dir: cfg.Dirs.Base(), AgentPath: agent, Nameservers: nameservers})
	if err != nil {
		return template.Image{}, err
	}
	if len(base.Changed) > 0 {
		cfg.Log.Info("base template skips package configuration files modified on this host", "files", base.Changed)
	}
	if ready != nil && ready(base) {
		return template.Image{Spec: base.SpecOfImage(), Stamp: imageStamp(base)}, nil
	}
	return template.Image{
		Spec:  vm.Spec{Rootfs: base.Rootfs, Mounts: base.Mounts, Args: base.Args, Env: base.Env, Cwd: "/"},
		Stamp: base.ID,
	}, nil
}

// onlyImage is baseImage for a driver that takes nothing but images: it waits until there is one.
func onlyImage(ctx context.Context, cfg Config, made *baseImages) (template.Image, error) {
	var failed error
	img, err := baseImage(ctx, cfg, func(base hostbase.Base) bool {
		failed = made.now(ctx, base)
		return failed == nil
	})
	return img, errors.Join(err, failed)
}

// prune removes the bases, and the images without a name, but those that keep returns. A node beside the daemon has no
// container images here (nil), and leaves those of bases alone: which are in use only the daemon can decide.
func prune(dirs layout.Layout, containers *catalogue.Catalogue, keep catalogue.Keep) error {
	roots, err := keep()
	if err != nil {
		return err
	}
	err = pruneBases(dirs, roots)
	if containers != nil {
		err = errors.Join(err, pruneImages(dirs, roots))
		_, pruned := containers.Prune(keep)
		err = errors.Join(err, pruned)
	}
	return err
}

// pruneBases removes every base but those with these roots, by whatever path.
func pruneBases(dirs layout.Layout, keep []string) error {
	ids, err := hostbase.List(dirs.Base())
	for _, id := range ids {
		if !hasRoot(keep, id) {
			err = errors.Join(err, hostbase.Remove(dirs.Base(), id))
		}
	}
	return err
}

// pruneImages is pruneBases for the images of bases, and for one that was not finished.
func pruneImages(dirs layout.Layout, keep []string) error {
	images, err := hostbase.Images(dirs.Base())
	for _, image := range images {
		if !hasRoot(keep, filepath.Base(image)) {
			err = errors.Join(err, hostbase.RemoveImage(image))
		}
	}
	return errors.Join(err, erofs.Clean(dirs.Base()))
}

func hasRoot(roots []string, name string) bool {
	return slices.ContainsFunc(roots, func(root string) bool { return filepath.Base(root) == name })
}
