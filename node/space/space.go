//go:build linux

// Package space surveys what takes the room of a node's disk: it reads the files below the state and cache directories and, in
// the database, who needs them. It changes nothing, and works beside a daemon and without one. It may import layout, store,
// sandbox, policy, host, vm, the packages of image, node/statedir and runtime/claim; node and cmd may import it.
package space

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/store"
)

// The kinds of objects, in the order in which they are reported.
const (
	Paused    = "paused sandboxes"
	Running   = "running sandboxes"
	Snapshots = "snapshots"
	Templates = "templates"
	Layers    = "layers"
	Orphans   = "orphans"
	Images    = "images"
	Base      = "base"
	Engines   = "engines"
	Uploads   = "uploads"
	Database  = "database"
	Other     = "other"
)

var kinds = []string{Paused, Running, Snapshots, Templates, Layers, Orphans, Images, Base, Engines, Uploads, Database, Other}

// Usage is what the objects of a kind take.
type Usage struct {
	Kind  string `json:"kind"`
	Count int    `json:"count"`
	// Bytes are those of allocated blocks. A file with several names counts once, for the first kind that has it.
	Bytes int64 `json:"bytes"`
	// Reclaimable is how many of them "rundlet prune --all" would free at least: an image that only layers need
	// is not counted.
	Reclaimable int64 `json:"reclaimable_bytes"`
}

// Report is what takes the room on the disk of a state directory.
type Report struct {
	StateDir string  `json:"state_dir"`
	Usage    []Usage `json:"usage"`
	// Bytes and Reclaimable are the sums of Usage.
	Bytes       int64 `json:"bytes"`
	Reclaimable int64 `json:"reclaimable_bytes"`
	// DiskBytes and FreeBytes are of the file system; below FloorBytes of free space no template is built and no sandbox is created,
	// paused or resumed: it is the highest of those floors.
	DiskBytes  int64 `json:"disk_bytes"`
	FreeBytes  int64 `json:"free_bytes"`
	FloorBytes int64 `json:"floor_bytes"`
}

// Of surveys a node. A state directory without a database has files without owners only.
func Of(ctx context.Context, dirs layout.Layout) (Report, error) {
	r := Report{StateDir: dirs.StateDir}
	d, err := DiskOf(dirs.StateDir)
	if err != nil {
		return r, err
	}
	r.DiskBytes, r.FreeBytes, r.FloorBytes = d.Total, d.Free, max(d.Floors.Restore, d.Floors.Save, d.Floors.Build)
	db, err := statedir.OpenToRead(ctx, dirs)
	if errors.Is(err, fs.ErrNotExist) {
		db, err = nil, nil
	}
	if err != nil {
		return r, err
	}
	objects, err := Objects(ctx, dirs, db, time.Now())
	if db != nil {
		err = errors.Join(err, db.Close()) // On a full disk others wait for it.
	}
	if err != nil {
		return r, err
	}
	found, err := measure(dirs, objects)
	if err != nil {
		return r, err
	}
	r.Usage = found.usage()
	for _, u := range r.Usage {
		r.Bytes += u.Bytes
		r.Reclaimable += u.Reclaimable
	}
	return r, nil
}

// Disk is a file system: its size and what is free of it, in bytes, and the floors of a disk of that size.
type Disk struct {
	Total, Free int64
	Floors      disk.Floors
}

// DiskOf returns the file system of a directory.
func DiskOf(dir string) (d Disk, err error) {
	if d.Total, err = (host.Host{}).TotalBytes(dir); err == nil {
		d.Free, err = (host.Host{}).FreeBytes(dir)
	}
	d.Floors = disk.FloorsFor(d.Total)
	return d, err
}

// Grade says which of the calls of Prune removes an object.
type Grade int

// The grades, from what everything removes to what nothing does.
const (
	Unneeded Grade = iota // nothing can use it any more
	Layer                 // a later build would begin with it
	Named                 // an image with a name, of which nothing is made
	Upload                // files that a client would not upload again, or a pull not fetch again
	Needed
)

// Object is one thing on the disk.
type Object struct {
	Kind string
	// Paths are its files and directories.
	Paths []string
	Grade Grade
	// Claim is the row of a layer or a template; empty for other kinds.
	Claim store.Snapshot
	// modified is that of uploaded files, which a build that begins with them changes.
	modified time.Time
	// pull: it is what came by a pull of a template.
	pull bool
}

// Size returns the bytes that are free when an object is removed: not those of files that have other names.
func Size(o Object) (bytes int64, err error) {
	f := &found{files: map[inode]*file{}, count: map[string]int{}}
	o.Kind, o.Grade = Other, Unneeded
	for _, path := range o.Paths {
		if err := f.walk(path, map[string]*Object{path: &o}); err != nil {
			return 0, err
		}
	}
	for _, u := range f.usage() {
		bytes += u.Reclaimable
	}
	return bytes, nil
}
