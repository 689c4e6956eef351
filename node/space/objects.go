//go:build linux

package space

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rundlet/rundlet/image/catalogue"
	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// kindOf are the kinds of what claims are for.
var kindOf = map[string]string{
	claim.KindPause: Paused, claim.KindFilesystemPause: Paused, claim.KindTemplate: Templates, claim.KindLayer: Layers,
	claim.KindSnapshot: Snapshots, claim.KindContinuation: Snapshots, claim.KindFork: Snapshots,
}

// Objects returns the objects of a node on the disk at a time. A nil db stands for a missing database.
func Objects(ctx context.Context, dirs layout.Layout, db *store.Store, now time.Time) ([]Object, error) {
	saved, err := snapshotsOf(ctx, dirs, db)
	if err != nil {
		return nil, err
	}
	keep, known, err := Roots(ctx, db)
	if err != nil {
		return nil, err
	}
	images, err := imagesOf(dirs, keep, known)
	if err != nil {
		return nil, err
	}
	busy, err := building(ctx, db)
	if err != nil {
		return nil, err
	}
	files, err := uploadsOf(dirs, busy, now)
	if err != nil {
		return nil, err
	}
	pulls, err := pullsOf(dirs, now)
	if err != nil {
		return nil, err
	}
	all := slices.Concat(saved, images, files, pulls)
	for kind, pattern := range map[string]string{
		Base: filepath.Join(dirs.Base(), "*"), Engines: filepath.Join(dirs.DriverState("*"), "engines", "*"),
		Running: filepath.Join(dirs.DriverState("*"), "pending", "*", "*", "*"), Database: dirs.Database() + "*",
	} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		if kind == Database && len(paths) > 0 {
			all = append(all, Object{Kind: kind, Paths: paths, Grade: Needed}) // With its log.
			continue
		}
		for _, path := range paths {
			all = append(all, Object{Kind: kind, Paths: []string{path}, Grade: Needed})
		}
	}
	return all, nil
}

// snapshotsOf are the snapshots of all drivers. One with several claims is of the kind that is reported first.
func snapshotsOf(ctx context.Context, dirs layout.Layout, db *store.Store) ([]Object, error) {
	paths, err := filepath.Glob(filepath.Join(dirs.DriverState("*"), "snapshots", "*", "*"))
	if err != nil {
		return nil, err
	}
	claims, err := claimsOf(ctx, db)
	if err != nil {
		return nil, err
	}
	var all []Object
	for _, path := range paths {
		o := Object{Kind: Orphans, Paths: []string{path}, Grade: Needed} // They are given up by their own command.
		for _, c := range claims[[2]string{filepath.Base(filepath.Dir(path)), filepath.Base(path)}] {
			if o.Kind == Orphans || slices.Index(kinds, c.Kind) < slices.Index(kinds, o.Kind) {
				o.Kind, o.Grade, o.Claim = c.Kind, c.Grade, c.Claim
			}
		}
		all = append(all, o)
	}
	return all, nil
}

// claimsOf returns what rows say of the snapshots of drivers, by the names of machine and snapshot.
func claimsOf(ctx context.Context, db *store.Store) (map[[2]string][]Object, error) {
	claims := map[[2]string][]Object{}
	if db == nil {
		return claims, nil
	}
	rows, err := db.Snapshots.Claims(ctx)
	if err != nil {
		return nil, err
	}
	abandoned, err := db.Builds.Abandoned(ctx)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		o := Object{Kind: kindOf[row.Kind], Grade: Needed, Claim: row}
		switch {
		case o.Kind == "":
			o.Kind = Snapshots // Of a newer program.
		case row.State != store.SnapshotReady: // It is being saved.
		case row.Kind == claim.KindLayer:
			o.Grade = Layer
		case row.Kind == claim.KindTemplate && slices.Contains(abandoned, row.ID):
			o.Grade = Unneeded
		}
		key := [2]string{row.VMID, row.Snapshot}
		claims[key] = append(claims[key], o)
	}
	templates, err := db.Templates.All(ctx)
	for _, t := range templates {
		key := [2]string{t.VMID, t.Snapshot}
		claims[key] = append(claims[key], Object{Kind: Base, Grade: Needed})
	}
	return claims, err
}

// Roots returns the root file systems and the sources of mounts of all sandboxes, snapshots and templates. known is false if they are
// not known: then any image may be needed.
func Roots(ctx context.Context, db *store.Store) (roots []string, known bool, err error) {
	if db == nil {
		return nil, false, nil
	}
	specs, err := db.Specs(ctx)
	if err != nil {
		return nil, false, err
	}
	templates, err := db.Templates.All(ctx)
	if err != nil {
		return nil, false, err
	}
	for _, t := range templates {
		specs = append(specs, string(t.Spec))
	}
	orphans, err := db.Orphans.All(ctx)
	if err != nil || len(orphans) > 0 {
		return nil, false, err // Nothing says which image they need.
	}
	for _, text := range specs {
		var spec vm.Spec
		if json.Unmarshal([]byte(text), &spec) != nil {
			return nil, false, nil // Of a newer program, or damaged: it may need any.
		}
		roots = append(roots, spec.Rootfs)
		for _, m := range spec.Mounts {
			roots = append(roots, m.Source)
		}
	}
	return roots, true, nil
}

// imagesOf are the container images.
func imagesOf(dirs layout.Layout, keep []string, known bool) (all []Object, err error) {
	paths, err := filepath.Glob(filepath.Join(dirs.Images(), "*"+erofs.Suffix))
	if err != nil || len(paths) == 0 {
		return nil, err
	}
	images, err := catalogue.Open(catalogue.Config{Dir: dirs.Images()})
	if err != nil {
		return nil, err
	}
	var unneeded, named []string
	if known {
		if unneeded, err = images.Unneeded(keep, false); err == nil {
			named, err = images.Unneeded(keep, true)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, path := range paths {
		o := Object{Kind: Images, Grade: Needed, Paths: []string{path, strings.TrimSuffix(path, erofs.Suffix) + ".json"}}
		if slices.Contains(named, path) {
			o.Grade = Named
		}
		if slices.Contains(unneeded, path) {
			o.Grade = Unneeded
		}
		all = append(all, o)
	}
	return all, nil
}

// building returns the ids of the templates of which a build goes on, or waits for its recipe.
func building(ctx context.Context, db *store.Store) (map[string]bool, error) {
	ids := map[string]bool{}
	if db == nil {
		return ids, nil
	}
	rows, err := db.Builds.Unfinished(ctx)
	for _, row := range rows {
		ids[row.TemplateID] = true
	}
	return ids, err
}

// RemoveUpload removes uploaded files, unless a build has begun with them since they were surveyed, and what a pull left that does not go on.
func RemoveUpload(o Object) (removed bool, err error) {
	if o.pull {
		return removePull(o)
	}
	info, err := os.Lstat(o.Paths[0])
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || !info.ModTime().Equal(o.modified) {
		return false, err
	}
	return true, os.Remove(o.Paths[0])
}

const (
	// uploadKept is how long uploaded files are kept that no build needs, as the daemon does at its start.
	uploadKept = 7 * 24 * time.Hour
	// uploadTime is longer than an upload takes, or the time between one and the build that is for.
	uploadTime = 24 * time.Hour
)

// uploadsOf are the files that clients uploaded for builds.
func uploadsOf(dirs layout.Layout, busy map[string]bool, now time.Time) (all []Object, err error) {
	paths, err := filepath.Glob(filepath.Join(dirs.Uploads(), "*", "*"))
	for _, path := range paths {
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("uploaded files: %w", err)
		}
		o, age := Object{Kind: Uploads, Grade: Needed, Paths: []string{path}, modified: info.ModTime()}, now.Sub(info.ModTime())
		switch complete := strings.Contains(info.Name(), "."); { // HASH.DIGEST: see package uploads.
		case busy[filepath.Base(filepath.Dir(path))]:
		case age > uploadKept || !complete && age > uploadTime:
			o.Grade = Unneeded
		case complete && age > time.Hour:
			o.Grade = Upload
		}
		all = append(all, o)
	}
	return all, err
}
