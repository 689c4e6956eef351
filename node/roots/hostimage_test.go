//go:build linux

package roots

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/image/catalogue"
	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/image/guest"
	"github.com/rundlet/rundlet/image/hostbase"
	"github.com/rundlet/rundlet/image/oci/ocitest"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// smallBase is a base of one directory, without the host's /usr.
func smallBase(t *testing.T) hostbase.Base {
	t.Helper()
	root := filepath.Join(t.TempDir(), "id")
	if err := errors.Join(os.Mkdir(root, 0o755), os.WriteFile(filepath.Join(root, "f"), []byte("content"), 0o644)); err != nil {
		t.Fatal(err)
	}
	return hostbase.Base{ID: "id", Rootfs: root}
}

func TestAnImageOfTheBaseIsMadeOnceInTheBackground(t *testing.T) {
	base, room := smallBase(t), make(chan int64)
	images := newBaseImages(slog.New(slog.DiscardHandler), func() (int64, error) { return <-room, nil })
	before := images.stamp()
	for range 3 { // The first call begins, and the others find it at work.
		if images.ready(base) {
			t.Fatal("the image is ready before it was made")
		}
	}
	room <- 1 << 30
	images.wg.Wait()
	if !images.ready(base) || images.stamp() == before {
		t.Errorf("the image is not ready, or %q is still the stamp", images.stamp())
	}
	if err := images.close(t.Context()); err != nil {
		t.Error(err)
	}
}

// A driver that takes only images has no base before: all creates wait for one making, and one that failed is not repeated by each of them.
func TestAllWaitForTheSameImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := 0
		base, room := smallBase(t), make(chan int64)
		images := newBaseImages(slog.New(slog.DiscardHandler), func() (int64, error) { made++; return <-room, nil })
		ctx, cancel := context.WithCancel(t.Context())
		errs := make(chan error, 3)
		for range 2 {
			go func() { errs <- images.now(ctx, base) }()
		}
		synctest.Wait()
		cancel()
		for range 2 {
			if err := <-errs; !errors.Is(err, context.Canceled) {
				t.Errorf("of a caller that left: %v", err)
			}
		}
		go func() { errs <- images.now(t.Context(), base) }()
		synctest.Wait()
		room <- 0
		failed := <-errs
		if failed == nil || made != 1 {
			t.Errorf("without room: %v, begun %d times", failed, made)
		}
		if err := images.now(t.Context(), base); err == nil || err.Error() != failed.Error() || made != 1 {
			t.Errorf("at once again: %v, begun %d times", err, made)
		}
		time.Sleep(retryAfter)
		go func() { errs <- images.now(t.Context(), base) }()
		room <- 1 << 30
		if err := errors.Join(<-errs, images.now(t.Context(), base)); err != nil || made != 2 || !base.HasImage() {
			t.Errorf("with room: %v, begun %d times", err, made)
		}
	})
}

func TestWithoutRoomThereIsNoImage(t *testing.T) {
	for name, room := range map[string]int64{"full": 0, "too little": 1} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			base := smallBase(t)
			images := newBaseImages(slog.New(slog.NewTextHandler(&log, nil)), func() (int64, error) { return room, nil })
			before := images.stamp()
			images.ready(base)
			images.wg.Wait()
			if base.HasImage() || images.stamp() != before || !strings.Contains(log.String(), "sandboxes use the host's /usr") {
				t.Errorf("stamp %q, log %s", images.stamp(), log.String())
			}
		})
	}
}

// A file that goes while the image is made does not end the matter: the next build of the
// template asks again, within bounds.
func TestAnImageThatFailedInPassingIsAskedForAgain(t *testing.T) {
	base := smallBase(t)
	images := newBaseImages(slog.New(slog.DiscardHandler), func() (int64, error) {
		return 1 << 30, os.RemoveAll(base.Rootfs)
	})
	stamps := map[string]bool{images.stamp(): true}
	for range 3 * mostFailures {
		images.ready(base)
		images.wg.Wait()
		stamps[images.stamp()] = true
	}
	if len(stamps) != 1+mostFailures {
		t.Errorf("the template is built for %d failures, want %d", len(stamps)-1, mostFailures)
	}
}

// A node beside the daemon has the base as the daemon has it: another choice would delete the
// snapshot of the daemon's.
func TestANodeBesideTheDaemonTakesTheImageThatItHas(t *testing.T) {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	base := smallBase(t)
	if _, err := base.MakeImage(t.Context(), erofs.Options{}); err != nil {
		t.Fatal(err)
	}
	ready := storedImage(t.Context(), db)
	if ready(base) {
		t.Error("it takes an image that no template has")
	}
	row := store.Template{ID: "t", Alias: template.BaseAlias, BuildID: "b", VMID: "v", Snapshot: "s", Stamp: "gvisor v1 " + imageStamp(base) + " size", Spec: []byte("{}")}
	if err := db.Templates.Put(t.Context(), &row); err != nil {
		t.Fatal(err)
	}
	if !ready(base) {
		t.Error("it does not take the image of the template")
	}
	if err := os.Remove(base.Image()); err != nil {
		t.Fatal(err)
	}
	if ready(base) {
		t.Error("it takes an image that is not there")
	}
}

// A damaged image is made anew, in its place.
func TestADamagedImageIsMadeAnew(t *testing.T) {
	base := smallBase(t)
	if err := os.WriteFile(base.Image(), make([]byte, 8<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	images := newBaseImages(slog.New(slog.DiscardHandler), func() (int64, error) { return 1 << 30, nil })
	if images.ready(base) {
		t.Error("a damaged image is ready")
	}
	images.wg.Wait()
	if !images.ready(base) {
		t.Error("it was not made anew")
	}
}

func TestAClosedNodeMakesNoImage(t *testing.T) {
	base := smallBase(t)
	images := newBaseImages(slog.New(slog.DiscardHandler), func() (int64, error) { return 1 << 30, nil })
	if err := images.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if images.ready(base) || base.HasImage() {
		t.Error("a closed node makes an image")
	}
}

// TestAnImageThatASnapshotNeedsIsKept has a root that is an image, by another path.
func TestAnImageThatASnapshotNeedsIsKept(t *testing.T) {
	dirs := layout.Layout{StateDir: t.TempDir()}
	if err := os.MkdirAll(dirs.Base(), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"needed.erofs", "former.erofs"} {
		if err := os.WriteFile(filepath.Join(dirs.Base(), name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	needed := func() ([]string, error) { return []string{"/another/templates/base/needed.erofs"}, nil }
	if err := prune(dirs, nil, needed); err != nil {
		t.Fatal(err)
	}
	if left, err := hostbase.Images(dirs.Base()); err != nil || len(left) != 2 {
		t.Errorf("a node beside the daemon leaves %q, %v", left, err)
	}
	if err := prune(dirs, containers(t, dirs), needed); err != nil {
		t.Fatal(err)
	}
	left, err := hostbase.Images(dirs.Base())
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != "needed.erofs" {
		t.Errorf("left are %q, %v", left, err)
	}
}

// Images of bases leave the pool its room, and those of containers leave builds theirs.
func TestRoomIsWhatIsAboveAFloor(t *testing.T) {
	dir := t.TempDir()
	total, err := host.Host{}.TotalBytes(dir)
	if err != nil {
		t.Fatal(err)
	}
	floors := disk.FloorsFor(total)
	cfg, err := imagesOf(layout.Layout{StateDir: dir}, guest.Config{})
	if err != nil || cfg.MaxBytes != total/2 || cfg.Room == nil {
		t.Errorf("all images may have %d of %d bytes, %v", cfg.MaxBytes, total, err)
	}
	forContainers := func(dir string) (int64, error) { return ImagesConfig(dir, guest.Config{}).Room() }
	for name, c := range map[string]struct {
		room  func(string) (int64, error)
		floor int64
	}{"bases": {roomForImage, floors.WarmPool}, "containers": {forContainers, floors.Build}} {
		before, errA := host.Host{}.FreeBytes(dir)
		room, errB := c.room(dir)
		after, errC := host.Host{}.FreeBytes(dir)
		if err := errors.Join(errA, errB, errC); err != nil {
			t.Fatal(err)
		}
		const noise = 4 << 30 // Others write.
		if free := room + c.floor; free < min(before, after)-noise || free > max(before, after)+noise {
			t.Errorf("%s: %d bytes above %d, and %d to %d are free", name, room, c.floor, before, after)
		}
		if _, err := c.room(dir + "/none"); err == nil {
			t.Errorf("%s: room where nothing is", name)
		}
	}
}

// containers has the container images of a state directory.
func containers(t *testing.T, dirs layout.Layout) *catalogue.Catalogue {
	t.Helper()
	agent := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(agent, []byte("the agent"), 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := catalogue.Open(catalogue.Config{Dir: dirs.Images(), Guest: guest.Config{AgentPath: agent}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// An image that a snapshot needs, and one that a build boots from which has saved nothing yet, have no name and are kept.
func TestAContainerImageThatIsInUseIsKept(t *testing.T) {
	dirs := layout.Layout{StateDir: t.TempDir()}
	layer, errA := ocitest.Layer(ocitest.Regular("a", "a"))
	image, errB := ocitest.Image(v1.Config{}, layer)
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	tag, errC := name.NewTag(strings.TrimPrefix(server.URL, "http://") + "/a")
	if err := errors.Join(errA, errB, errC); err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, image); err != nil {
		t.Fatal(err)
	}
	c := containers(t, dirs)
	for _, name := range []string{"needed.erofs", "former.erofs"} {
		if err := os.WriteFile(filepath.Join(dirs.Images(), name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	login := &sandbox.Registry{Type: "registry", Username: "ann", Password: "secret"}
	all := &images{catalogue: c, private: []string{tag.RegistryStr()}}
	building, err := all.root(t.Context(), tag.String(), login, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := prune(dirs, c, func() ([]string, error) { return []string{"/another/images/needed.erofs"}, nil }); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dirs.Images(), "*.erofs"))
	want := []string{building.Spec.Rootfs, filepath.Join(dirs.Images(), "needed.erofs")}
	slices.Sort(want)
	if err != nil || !slices.Equal(left, want) {
		t.Errorf("left are %q, %v; want %q", left, err, want)
	}
}
