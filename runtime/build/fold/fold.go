// Package fold puts what the steps of a build wrote into an image, and lets the build go on in a machine that boots from that. A machine keeps
// in memory what it writes to its root, and so does each one that is restored from a snapshot of it; what is in the image that is its root,
// they share. It may import store, vm, envd, runtime/background, runtime/claim, runtime/step and runtime/build/site.
package fold

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/build/site"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

const (
	// Least is how much the steps must have written for a new image: less does not make up for one.
	Least = 16 << 20
	// Largest bounds the largest file: the machine holds it in memory, twice, when its layer is read.
	Largest = 512 << 20
	timeout = 10 * time.Minute
)

// Maker makes an image of a root and of about layerBytes that a machine wrote over it: layer writes that as a tar file, see
// vm.LayerReader, and times what envd.RootTimes does. The image stays until release is called or a row names it.
type Maker func(ctx context.Context, root string, layerBytes int64, layer, times func(context.Context, io.Writer) error) (image string, release func(), err error)

// Folder folds what one build wrote. All fields are required.
type Folder struct {
	Make       Maker
	Site       site.Config
	Background *background.Group
	Steps      *step.Recorder
	// Plan is that of the machine which the build began with.
	Plan site.Plan
	// State is a snapshot of the machine as it is, but for its memory.
	State store.Snapshot
}

// Outcome is what came of it.
type Outcome struct {
	// Site is the machine in which the build goes on. After an error it may have ended, and is closed all the same.
	Site *site.Site
	// Bytes is about how much is in the image that was in memory; 0 if nothing was folded.
	Bytes int64
	// Why says why nothing was folded; empty if it was.
	Why string
}

// Do folds what the machine at a site has written, where that pays and nothing is lost. A failure is none of the build's, which then goes on in
// the machine as it is, or in one that is restored from State; an error means that ctx has ended, or that there is no such machine any more.
func (f Folder) Do(ctx context.Context, at *site.Site) (Outcome, error) {
	out := Outcome{Site: at}
	reader, ok := f.Site.Driver.(vm.LayerReader)
	if !ok {
		out.Why = "the driver cannot do it"
		return out, nil
	}
	var spec vm.Spec
	if err := json.Unmarshal([]byte(at.Spec()), &spec); err != nil {
		return out, err
	}
	if len(spec.Mounts) > 0 { // Such as the host's /usr, in which a guest looks for seconds.
		out.Why = "its root has mounts"
		return out, nil
	}
	state, why := look(ctx, at)
	var root string
	if why == "" {
		root, why = f.image(ctx, at, reader, spec.Rootfs, state)
	}
	if ctx.Err() != nil {
		return out, context.Cause(ctx)
	}
	if why != "" && f.usable(ctx, at) {
		out.Why = why
		return out, nil
	}
	if why != "" { // It has not survived it.
		err := f.goBack(ctx, &out, errors.New(why), nil)
		return out, err
	}
	if err := f.Steps.At(step.BuildFolded); err != nil {
		return out, err
	}
	err := f.reboot(ctx, &out, root, state.Extras)
	if err == nil && out.Why == "" {
		out.Bytes = state.LayerBytes
	}
	return out, err
}

// look returns what the guest says about its files, and why they are not folded; empty if they are.
func look(ctx context.Context, at *site.Site) (envd.RootState, string) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	state, err := at.Root(ctx, Least)
	if err != nil {
		return state, err.Error()
	}
	return state, reason(state)
}

// reason says why a machine that boots from the files of a root would be another one, or not worth it; empty if it would not.
func reason(state envd.RootState) string {
	switch {
	case state.LayerBytes < Least:
		return fmt.Sprintf("they are %d MiB", state.LayerBytes>>20)
	case len(state.Lost) > 0:
		return fmt.Sprintf("%.1000q", strings.Join(state.Lost, ", "))
	case state.LargestBytes < 0 || state.LargestBytes > Largest:
		return fmt.Sprintf("one has %d MiB", state.LargestBytes>>20)
	}
	return ""
}

// image makes the image, and returns its path, or why there is none. It stays until ctx ends: a row names it by then, or nothing does.
func (f Folder) image(ctx context.Context, at *site.Site, reader vm.LayerReader, under string, state envd.RootState) (root, why string) {
	life := ctx
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("it took more than %s", timeout))
	defer cancel()
	type image struct {
		root    string
		release func()
	}
	made, err := background.Deliver(ctx, f.Background, func() (image, error) {
		root, release, err := f.Make(ctx, under, state.LayerBytes, func(ctx context.Context, to io.Writer) error {
			return reader.ReadLayer(ctx, at.ID(), state.LargestBytes, to)
		}, at.RootTimes)
		return image{root, release}, err
	}, func(i image) { i.release() })
	if err != nil {
		return "", err.Error()
	}
	context.AfterFunc(life, made.release)
	return made.root, ""
}

// usable reports whether a machine runs and takes calls.
func (f Folder) usable(ctx context.Context, at *site.Site) bool {
	view, ok, err := f.Site.Driver.Get(ctx, at.ID())
	return err == nil && ok && view.Status == vm.StatusRunning && view.ExitReason == "" && view.Busy == ""
}

// reboot goes on in a machine that boots from another root. The former one ends first: there may be no room for both.
func (f Folder) reboot(ctx context.Context, out *Outcome, root string, extras []envd.Extra) error {
	boot := f.Plan
	boot.Boot = &vm.Spec{}
	if err := json.Unmarshal([]byte(out.Site.Spec()), boot.Boot); err != nil {
		return err
	}
	boot.Boot.Rootfs, boot.Boot.RestoreFrom = root, nil
	boot.Origin.Holder, boot.Origin.HolderToken = "", "" // The agent begins without a token.
	drop, err := f.Site.Hold(ctx, f.State)
	if err != nil {
		out.Why = err.Error()
		return nil
	}
	if err := f.end(ctx, out.Site); err != nil {
		drop()
		return err
	}
	next, failed := site.Opened(ctx, f.Site, f.Background, boot)
	if failed == nil {
		out.Site = next
		if failed = restore(ctx, next, extras); failed == nil {
			drop()
			return nil
		}
	}
	return f.goBack(ctx, out, failed, drop)
}

// goBack goes on in a machine that is restored from State, and says why. drop ends the hold of it, if there is one already.
func (f Folder) goBack(ctx context.Context, out *Outcome, why error, drop func()) (err error) {
	if drop == nil {
		if drop, err = f.Site.Hold(ctx, f.State); err != nil {
			return errors.Join(why, err)
		}
	}
	defer drop()
	if err := f.end(ctx, out.Site); err != nil {
		return err
	}
	before := f.Plan
	before.Origin, before.Boot = claim.OfSnapshot(f.State), nil
	back, err := site.Opened(ctx, f.Site, f.Background, before)
	if err != nil {
		return errors.Join(why, err)
	}
	out.Site, out.Why = back, why.Error()
	return nil
}

func restore(ctx context.Context, at *site.Site, extras []envd.Extra) error {
	if len(extras) == 0 {
		return nil
	}
	return at.RestoreExtras(ctx, extras)
}

// end ends a machine of the build. One that hangs holds up nothing but a goroutine.
func (f Folder) end(ctx context.Context, s *site.Site) error {
	_, err := background.Await(ctx, f.Background, func() (struct{}, error) {
		s.End(f.Background)
		return struct{}{}, nil
	})
	return err
}
