//go:build linux

package roots

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/image/hostbase"
	"github.com/rundlet/rundlet/node/space"
	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/store"
)

// baseImages makes images of the base in the background, one at a time. Until there is
// one, and where none can be made, sandboxes have the base as a directory.
type baseImages struct {
	log *slog.Logger
	// room is how large an image may be.
	room   func() (int64, error)
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	last   *attempt // of now
	making bool
	tried  int
	failed int // in a row, of the same
}

// roomForImage is what an image of the base in dir may take: the disk stays above the floor at which no
// machines are kept warm.
func roomForImage(dir string) (int64, error) {
	return roomAbove(dir, func(f disk.Floors) int64 { return f.WarmPool })
}

// roomAbove is how much may be written in dir until the disk is at a floor.
func roomAbove(dir string, floor func(disk.Floors) int64) (int64, error) {
	d, err := space.DiskOf(dir)
	return d.Free - floor(d.Floors), err
}

// mostFailures is how often in a row the host may change, or a file vanish, while an image is
// made, until that is left to the next start.
const mostFailures = 5

// progressInterval is how often the log says how far an image is.
const progressInterval = 10 * time.Second

func newBaseImages(log *slog.Logger, room func() (int64, error)) *baseImages {
	b := &baseImages{log: log, room: room}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// close breaks off an image that is being made, and waits for that.
func (b *baseImages) close(context.Context) error {
	b.cancel()
	b.wg.Wait()
	return nil
}

// stamp changes when there is another image.
func (b *baseImages) stamp() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Sprint(" images ", b.tried)
}

// ready reports whether a base has its image, and otherwise begins to make it.
func (b *baseImages) ready(base hostbase.Base) bool {
	if base.HasImage() {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.making || b.failed >= mostFailures || b.ctx.Err() != nil {
		return false
	}
	b.making = true
	b.wg.Go(func() {
		err := b.make(base)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.making = false
		if passing := errors.Is(err, errHostChanged) || errors.Is(err, fs.ErrNotExist); passing {
			b.failed++
		} else {
			b.failed = 0
		}
		if err == nil || b.failed > 0 {
			b.tried++ // Another stamp: the template is built anew, which asks for the image again.
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			b.log.Warn("could not make an image of the base template; sandboxes use the host's /usr", "error", err)
		}
	})
	return false
}

// attempt is one making of an image that callers wait for.
type attempt struct {
	done  chan struct{} // Closed when err and ended are valid.
	err   error
	ended time.Time
}

// retryAfter is how long callers get the error of a making that failed: another one copies all of the host's /usr again.
const retryAfter = 30 * time.Second

// now makes the image of a base unless there is one, and returns when it is there. All callers wait for the same one, and it goes on when
// they do not.
func (b *baseImages) now(ctx context.Context, base hostbase.Base) error {
	if base.HasImage() {
		return nil
	}
	a := b.attempt(base)
	select {
	case <-a.done:
		if a.err != nil {
			return fmt.Errorf("make an image of the base template: %w", a.err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("an image of the base template is being made: %w", ctx.Err())
	}
}

// attempt returns the making that is under way, or that failed a short time ago, or else begins one.
func (b *baseImages) attempt(base hostbase.Base) *attempt {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := b.last; a != nil {
		select {
		case <-a.done:
			if a.err != nil && time.Since(a.ended) < retryAfter {
				return a
			}
		default:
			return a
		}
	}
	a := &attempt{done: make(chan struct{})}
	b.last = a
	b.wg.Go(func() {
		defer close(a.done)
		a.err = b.make(base)
		a.ended = time.Now()
	})
	return a
}

// storedImage reports, of a base, whether the template that is stored is its image. A node beside
// the daemon takes what the daemon has: another choice would delete the daemon's.
func storedImage(ctx context.Context, db *store.Store) func(hostbase.Base) bool {
	return func(base hostbase.Base) bool {
		all, err := db.Templates.All(ctx)
		return err == nil && base.HasImage() && slices.ContainsFunc(all, func(t store.Template) bool {
			return t.Alias == template.BaseAlias && strings.Contains(t.Stamp, imageStamp(base))
		})
	}
}

// imageStamp is that of a template made of the image of a base.
func imageStamp(base hostbase.Base) string { return base.ID + " image" }

var errHostChanged = errors.New("the host changed meanwhile")

func (b *baseImages) make(base hostbase.Base) error {
	room, err := b.room()
	if err != nil {
		return err
	}
	if room <= 0 {
		return errors.New("the disk is too full")
	}
	before, begin := hostbase.HostStamp("/"), time.Now()
	said := begin
	b.log.Info("making an image of the base template in the background (once)", "build_id", base.ID)
	image, err := base.MakeImage(b.ctx, erofs.Options{
		MaxBytes: room,
		Check: func() error {
			if hostbase.HostStamp("/") != before {
				return errHostChanged
			}
			return nil
		},
		Progress: func(files int, bytes int64) {
			if time.Since(said) >= progressInterval {
				said = time.Now()
				b.log.Info("making an image of the base template", "files", files, "mib", bytes>>20)
			}
		},
	})
	if err != nil {
		return err
	}
	b.log.Info("image of the base template made", "build_id", base.ID, "files", image.Files, "mib", image.Bytes>>20,
		"without_attributes", image.LeftOut, "seconds", int(time.Since(begin).Seconds()))
	return nil
}
