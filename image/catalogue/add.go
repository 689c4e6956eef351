//go:build linux

package catalogue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/image/guest"
	"github.com/rundlet/rundlet/image/oci"
	"github.com/rundlet/rundlet/image/oci/layers"
	"github.com/rundlet/rundlet/image/tree"
	"github.com/rundlet/rundlet/internal/flock"
)

// parallel is how many layers of one image are read at a time.
const parallel = 4

// add makes the image unless it is there, gives it names, and holds it until release is called.
func (c *Catalogue) add(ctx context.Context, image *oci.Image, references []string, progress func(Progress)) (entry Entry, release func(), err error) {
	names, err := normal(references)
	if err != nil {
		return Entry{}, nil, err
	}
	if progress == nil {
		progress = func(Progress) {}
	}
	if len(names) > 0 {
		entry.Reference = names[0]
	}
	guestID, err := c.cfg.Guest.ID()
	if err != nil {
		return Entry{}, nil, err
	}
	file := image.Config.Hex + "-" + guestID + erofs.Suffix
	have := func() (err error) {
		if entry.Info, err = c.info(file); err != nil {
			return err
		}
		if err = c.name(file, names); err == nil {
			release, err = c.hold(file)
		}
		return err
	}
	if err := c.locked(have); !errors.Is(err, ErrNotFound) {
		return entry, release, err
	}
	// One directory for each first digit: a bound on the files of locks, which must stay.
	staging := filepath.Join(c.cfg.Dir, stagingDir, image.Config.Hex[:1])
	lock, err := flock.Await(ctx, staging+lockFile) // As long as another call makes an image.
	if err != nil {
		return Entry{}, nil, err
	}
	defer lock.Close()
	if err := c.locked(have); !errors.Is(err, ErrNotFound) { // Another call has made it.
		return entry, release, err
	}
	if err := errors.Join(os.RemoveAll(staging), os.Mkdir(staging, 0o700)); err != nil {
		return Entry{}, nil, err
	}
	defer os.RemoveAll(staging)
	info, err := c.make(ctx, image, staging, file, progress)
	if err != nil {
		return Entry{}, nil, err
	}
	err = c.locked(func() error {
		if err := writeJSON(c.infoPath(file), info); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(staging, file), filepath.Join(c.cfg.Dir, file)); err != nil {
			return err
		}
		if err := syncDir(c.cfg.Dir); err != nil {
			return err
		}
		return have()
	})
	return entry, release, err
}

// make makes the file of an image in the staging directory.
func (c *Catalogue) make(ctx context.Context, image *oci.Image, staging, file string, progress func(Progress)) (Info, error) {
	limits, err := c.limits(image.Layers)
	if err != nil {
		return Info{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limits = limits.Complete()
	spool := layers.NewSpool(staging, limits)
	files, err := spoolAll(ctx, spool, image.Layers, progress)
	defer func() {
		for _, f := range files {
			if f != nil {
				f.Close()
			}
		}
	}()
	if err != nil {
		return Info{}, err
	}
	select {
	case c.tree <- struct{}{}:
		defer func() { <-c.tree }()
	case <-ctx.Done():
		return Info{}, context.Cause(ctx)
	}
	var skipped layers.Skipped
	t := tree.New()
	for n, f := range files {
		if err := spool.Apply(ctx, t, f, &skipped); err != nil {
			return Info{}, fmt.Errorf("layer %d: %w", n+1, err)
		}
	}
	agent, err := guest.Add(t, image.File.Config.Env, c.cfg.Guest)
	if err != nil {
		return Info{}, err
	}
	defer agent.Close()
	t.Finish()
	most, err := c.imageBytes() // Again: others have written since.
	if err != nil {
		return Info{}, err
	}
	asked := int64(0)
	made, err := erofs.Make(ctx, t, staging, erofs.Options{ForGuest: true, Name: file, MaxBytes: most,
		Progress: func(_ int, bytes int64) {
			progress(Progress{Step: "image", Done: bytes})
			if bytes-asked >= limits.AskEvery {
				asked = bytes
				if _, err := c.room(); err != nil {
					cancel(err)
				}
			}
		}})
	if full := context.Cause(ctx); err != nil && errors.Is(full, ErrFull) {
		err = full
	}
	if errors.Is(err, erofs.ErrTooLarge) {
		err = fmt.Errorf("%w: %w", ErrFull, err)
	}
	if err != nil {
		return Info{}, err
	}
	run := image.File.Config
	info := Info{Format: recordFormat, Digest: image.Config.String(), File: file, Created: image.File.Created.Time, Added: time.Now().UTC(),
		Config: Run{run.Env, run.WorkingDir, run.User, run.Entrypoint, run.Cmd},
		Bytes:  made.Bytes, LayerBytes: spool.Bytes(), Files: made.Files, Devices: skipped.Devices, Attributes: skipped.Attributes}
	if image.Manifest.Hex != "" {
		info.Manifest = image.Manifest.String()
	}
	return info, nil
}

// spoolAll reads layers, some at a time. The caller closes the files, also after an error.
func spoolAll(ctx context.Context, spool *layers.Spool, all []oci.Layer, progress func(Progress)) ([]*os.File, error) {
	var total int64
	for _, l := range all {
		if total += l.Size; l.Size == 0 {
			total = 0
			break
		}
	}
	var mu sync.Mutex
	var done int64
	spool.Progress = func(n int) { // Of several layers at a time.
		mu.Lock()
		defer mu.Unlock()
		done += int64(n)
		progress(Progress{Step: "layers", Done: done, Total: total})
	}
	files := make([]*os.File, len(all))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for n, layer := range all {
		group.Go(func() (err error) {
			if files[n], err = spool.Get(ctx, layer); err != nil {
				return fmt.Errorf("layer %d: %w", n+1, err)
			}
			return nil
		})
	}
	return files, group.Wait()
}
