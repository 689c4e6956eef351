//go:build linux

package catalogue

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	upstream "github.com/erofs/go-erofs"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/image/guest"
	"github.com/rundlet/rundlet/image/oci/layers"
	"github.com/rundlet/rundlet/image/oci/ocitest"
	"github.com/rundlet/rundlet/internal/flock"
	"github.com/rundlet/rundlet/internal/format"
)

func newConfig(t testing.TB) Config {
	t.Helper()
	agent := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(agent, []byte("the agent"), 0o700); err != nil {
		t.Fatal(err)
	}
	return Config{Dir: filepath.Join(t.TempDir(), "images"), Guest: guest.Config{AgentPath: agent}}
}

func open(t testing.TB, cfg Config) *Catalogue {
	t.Helper()
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// imageOf has two layers, of which the second hides a file of the first.
func imageOf(t testing.TB, content string) v1.Image {
	t.Helper()
	a, errA := ocitest.Layer(ocitest.Regular("app/file", content), ocitest.Regular("hidden", "x"))
	b, errB := ocitest.Layer(ocitest.Regular(".wh.hidden", ""), ocitest.Program("app/run", "run", 0o4755))
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	image, err := ocitest.Image(v1.Config{Env: []string{"PATH=/app:/bin"}, WorkingDir: "/app", User: "1", Entrypoint: []string{"run"}, Cmd: []string{"file"}}, a, b)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// archiveOf is what "docker save" writes of an image.
func archiveOf(t testing.TB, image v1.Image, reference string) string {
	t.Helper()
	tag, err := name.NewTag(reference)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := tarball.WriteToFile(file, tag, image); err != nil {
		t.Fatal(err)
	}
	return file
}

// tidy checks that nothing is in the staging directory but locks.
func tidy(t testing.TB, cfg Config) {
	t.Helper()
	left, err := os.ReadDir(filepath.Join(cfg.Dir, stagingDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		if !strings.HasSuffix(entry.Name(), lockFile) {
			t.Errorf("left is %s", entry.Name())
		}
	}
	if temp, err := filepath.Glob(filepath.Join(cfg.Dir, "*/*.tmp")); err != nil || len(temp) > 0 {
		t.Errorf("left is %v, %v", temp, err)
	}
}

func TestLoadFindAndRemove(t *testing.T) {
	cfg := newConfig(t)
	c := open(t, cfg)
	file := archiveOf(t, imageOf(t, "content"), "mine/app:1")
	var steps []string
	entry, err := c.Load(t.Context(), file, "", func(p Progress) { steps = append(steps, p.Step) })
	if err != nil {
		t.Fatal(err)
	}
	if entry.Reference != "docker.io/mine/app:1" || !slices.Contains(steps, "layers") || !slices.Contains(steps, "image") || entry.Config.User != "1" || entry.Bytes == 0 || entry.LayerBytes == 0 {
		t.Errorf("entry %+v after %v", entry, steps)
	}
	root, release, err := c.Image(t.Context(), "mine/app:1")
	if err != nil {
		t.Fatal(err)
	}
	release()
	if root.Spec.Rootfs != filepath.Join(cfg.Dir, entry.File) || root.Spec.Args[0] != guest.AgentPath || root.Spec.Env[0] != "PATH=/.rundlet/bin:/app:/bin" || root.Stamp != entry.File {
		t.Errorf("root %+v", root)
	}
	f, err := os.Open(root.Spec.Rootfs)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tree, err := upstream.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"app/file": "content", "app/run": "run", ".rundlet/agent": "the agent", "etc/hostname": guest.Hostname} {
		if got, err := fs.ReadFile(tree, path); string(got) != want || err != nil {
			t.Errorf("%s has %q, %v", path, got, err)
		}
	}
	if _, err := fs.Stat(tree, "hidden"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the hidden file: %v", err)
	}
	// Another name is another record of the same file.
	steps = nil
	again, err := c.Load(t.Context(), file, "other", func(p Progress) { steps = append(steps, p.Step) })
	if err != nil || again.File != entry.File || again.Reference != "docker.io/library/other:latest" || len(steps) > 0 {
		t.Errorf("%+v after %v, %v", again, steps, err)
	}
	if list, err := c.List(); err != nil || len(list) != 2 {
		t.Errorf("list %+v, %v", list, err)
	}
	for _, name := range []string{"other", entry.Digest, entry.Digest[:20], strings.TrimPrefix(entry.Digest, "sha256:")} {
		if found, err := c.Find(name); err != nil || found.File != entry.File {
			t.Errorf("find %s: %+v, %v", name, found, err)
		}
	}
	for _, name := range []string{"none", "sha256:000000000000", entry.Digest[:14]} {
		if found, err := c.Find(name); err == nil {
			t.Errorf("find %s: %+v", name, found)
		}
	}
	if _, err := c.Find("none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("find none: %v", err)
	}
	later := open(t, cfg) // As another process does.
	if err := c.Remove("other"); err != nil {
		t.Fatal(err)
	}
	if freed, err := later.Prune(keeping()); err != nil || freed != 0 {
		t.Errorf("pruned %d, %v", freed, err)
	}
	if err := c.Remove(entry.Digest); err != nil {
		t.Fatal(err)
	}
	if list, err := c.List(); err != nil || len(list) != 1 || list[0].Reference != "" {
		t.Errorf("list %+v, %v", list, err)
	}
	if freed, err := later.Prune(keeping("/elsewhere/" + entry.File)); err != nil || freed != 0 {
		t.Errorf("pruned %d, %v", freed, err)
	}
	if freed, err := later.Prune(keeping()); err != nil || freed != entry.Bytes {
		t.Errorf("pruned %d, %v", freed, err)
	}
	if err := c.Remove(entry.Digest); !errors.Is(err, ErrNotFound) {
		t.Errorf("remove: %v", err)
	}
	tidy(t, cfg)
}

func TestOneFileForManyCalls(t *testing.T) {
	cfg := newConfig(t)
	file := archiveOf(t, imageOf(t, "content"), "app")
	var made sync.Map
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			c := open(t, cfg) // As another process has it.
			_, err := c.Load(t.Context(), file, "", func(Progress) { made.Store(n, true) })
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	makers := 0
	made.Range(func(any, any) bool { makers++; return true })
	if files, err := filepath.Glob(filepath.Join(cfg.Dir, "*"+erofs.Suffix)); err != nil || len(files) != 1 || makers != 1 {
		t.Errorf("%d calls made %v, %v", makers, files, err)
	}
	tidy(t, cfg)
}

func TestAnotherAgentIsAnotherFile(t *testing.T) {
	cfg := newConfig(t)
	file := archiveOf(t, imageOf(t, "content"), "app")
	first, err := open(t, cfg).Load(t.Context(), file, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cfg.Guest.AgentPath, []byte("another"), 0o700); err != nil {
		t.Fatal(err)
	}
	c := open(t, cfg)
	second, err := c.Load(t.Context(), file, "", nil)
	if err != nil || second.File == first.File || second.Digest != first.Digest {
		t.Errorf("%+v, then %+v, %v", first, second, err)
	}
	if found, err := c.Find(first.Digest); err != nil || found.File != second.File {
		t.Errorf("found %+v, %v", found, err)
	}
	if freed, err := c.Prune(keeping()); err != nil || freed != first.Bytes {
		t.Errorf("pruned %d, %v", freed, err)
	}
}

func TestFailuresLeaveNothing(t *testing.T) {
	cfg := newConfig(t)
	file := archiveOf(t, imageOf(t, strings.Repeat("content", 1000)), "app")
	canceled, cancel := context.WithCancelCause(t.Context())
	cancel(nil)
	half, stop := context.WithCancelCause(t.Context())
	for name, c := range map[string]struct {
		ctx      context.Context
		limits   layers.Limits
		name     string
		progress func(Progress)
		want     error
	}{
		"canceled": {ctx: canceled, want: context.Canceled},
		"canceled at the image": {ctx: half, want: context.Canceled, progress: func(p Progress) {
			if p.Step == "image" {
				stop(nil)
			}
		}},
		"bytes":   {ctx: t.Context(), limits: layers.Limits{Bytes: 1000}, want: layers.ErrTooLarge},
		"entries": {ctx: t.Context(), limits: layers.Limits{Entries: 1}, want: layers.ErrTooLarge},
		"name":    {ctx: t.Context(), name: "NOT A NAME"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Limits = c.limits
			cat := open(t, cfg)
			if _, err := cat.Load(c.ctx, file, c.name, c.progress); err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if list, err := cat.List(); err != nil || len(list) > 0 {
				t.Errorf("list %v, %v", list, err)
			}
			tidy(t, cfg)
		})
	}
}

func TestWhatAKilledProcessLeftIsRemoved(t *testing.T) {
	cfg := newConfig(t)
	open(t, cfg)
	staging := filepath.Join(cfg.Dir, stagingDir)
	for _, digit := range []string{"a", "b"} {
		if err := errors.Join(os.Mkdir(filepath.Join(staging, digit), 0o700), os.WriteFile(filepath.Join(staging, digit, "new.erofs.tmp"), nil, 0o600),
			os.WriteFile(filepath.Join(staging, digit+lockFile), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	busy, err := flock.Try(filepath.Join(staging, "b"+lockFile))
	if err != nil {
		t.Fatal(err)
	}
	c := open(t, cfg)
	if _, err := os.Stat(filepath.Join(staging, "a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a dead process's directory: %v", err)
	}
	if _, err := os.Stat(filepath.Join(staging, "b")); err != nil {
		t.Errorf("a live one's directory: %v", err)
	}
	if err := busy.Close(); err != nil {
		t.Fatal(err)
	}
	// A half-made record, and an image without its record or cut.
	for _, name := range []string{"x.json.tmp", namesDir + "/x.json.tmp", "cut" + erofs.Suffix, "cut.json"} {
		if err := os.WriteFile(filepath.Join(cfg.Dir, name), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := c.List(); err != nil || len(list) > 0 {
		t.Errorf("list %v, %v", list, err)
	}
	if freed, err := c.Prune(keeping()); err != nil || freed != 2 {
		t.Errorf("freed %d, %v", freed, err)
	}
	if left, err := filepath.Glob(filepath.Join(cfg.Dir, "*.*")); err != nil || !slices.Equal(left, []string{filepath.Join(cfg.Dir, lockFile)}) {
		t.Errorf("left are %q, %v", left, err)
	}
}

func TestTheRecordOfANewerProgramIsRefused(t *testing.T) {
	cfg := newConfig(t)
	c := open(t, cfg)
	file := archiveOf(t, imageOf(t, "content"), "app")
	entry, err := c.Load(t.Context(), file, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	entry.Format++
	if err := writeJSON(c.infoPath(entry.File), entry.Info); err != nil {
		t.Fatal(err)
	}
	_, findErr := c.Find("app")
	_, loadErr := c.Load(t.Context(), file, "", nil)
	for _, err := range []error{findErr, loadErr} {
		if newer, ok := errors.AsType[*format.NewerError](err); !ok || newer.Found != int64(entry.Format) {
			t.Errorf("error %v", err)
		}
	}
}
