//go:build linux

package move

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/image/artifact"
	"github.com/rundlet/rundlet/image/oci/layers"
	"github.com/rundlet/rundlet/image/oci/registry"
	"github.com/rundlet/rundlet/internal/flock"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node/beside"
	"github.com/rundlet/rundlet/node/space"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
	_ "github.com/rundlet/rundlet/vm/drivers" // Registers the drivers.
)

func TestPlaces(t *testing.T) {
	for text, want := range map[string]place{
		"oci:/a/b": {dir: "/a/b"}, "x.tar": {file: "x.tar"}, "/a/x.tar": {file: "/a/x.tar"}, "registry.example/team/app:v1": {reference: "registry.example/team/app:v1"},
	} {
		if got := placeOf(text); got != want {
			t.Errorf("%s is %+v, want %+v", text, got, want)
		}
	}
	if name, tag := split("a/b:v1"); name != "a/b" || tag != "v1" {
		t.Errorf("%s, %s", name, tag)
	}
	if name, tag := split("a"); name != "a" || tag != sandbox.DefaultTag {
		t.Errorf("%s, %s", name, tag)
	}
}

// A file of some kilobytes must not fill the disk before anything of it is known.
func TestACompressedFileIsBounded(t *testing.T) {
	dir := t.TempDir()
	file, spool := filepath.Join(dir, "app.tar"), filepath.Join(dir, "spool")
	var text bytes.Buffer
	packed := gzip.NewWriter(&text)
	_, err := packed.Write(make([]byte, 8<<20))
	if err = errors.Join(err, packed.Close(), os.WriteFile(file, text.Bytes(), 0o600), os.Mkdir(spool, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := placeOf(file).open(t.Context(), "", spool, 4<<20, registry.Config{}); !errors.Is(err, layers.ErrTooLarge) {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(spool); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// said is what the driver says of each description.
type said struct {
	vm.SnapshotMover
	missing string
	err     error
}

func (s said) CheckImport(context.Context, []byte) (string, error) { return s.missing, s.err }

// What a node cannot use is refused by what the configuration says, before any file comes.
func TestWhatANodeCannotUseIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the driver needs root")
	}
	dir := t.TempDir()
	dirs := layout.Layout{StateDir: filepath.Join(dir, "state"), CacheDir: filepath.Join(dir, "cache"), RunDir: filepath.Join(dir, "run")}
	if err := dirs.Make(slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	parts, err := beside.Open(t.Context(), dirs, "")
	if err != nil {
		t.Fatal(err)
	}
	defer parts.Close()
	if err := parts.Store.Snapshots.Put(t.Context(), &store.Snapshot{ID: "c1", Kind: "snapshot", State: store.SnapshotReady, Name: "saved"}); err != nil {
		t.Fatal(err)
	}
	engine := []artifact.File{{Role: artifact.Engine, Name: "e1"}}
	for name, c := range map[string]struct {
		change func(*puller)
		want   error
		text   string
	}{
		"sound":             {change: func(*puller) {}},
		"no name":           {change: func(p *puller) { p.name = "../x" }, want: sandbox.ErrInvalid},
		"no tag":            {change: func(p *puller) { p.tag = "A B" }, want: sandbox.ErrInvalid},
		"a snapshot's name": {change: func(p *puller) { p.name = "saved" }, want: sandbox.ErrConflict},
		"the base":          {change: func(p *puller) { p.name = "base" }, want: sandbox.ErrInvalid},
		"another driver":    {change: func(p *puller) { p.a.Config.Driver = "qemu" }, want: vm.ErrIncompatible, text: "qemu"},
		"a token":           {change: func(p *puller) { p.a.Config.Token = "x" }, want: sandbox.ErrInvalid},
		"no processor":      {change: func(p *puller) { p.a.Config.VCPUs = 0 }, want: sandbox.ErrInvalid},
		"much memory":       {change: func(p *puller) { p.a.Config.MemoryMiB = 1 << 40 }, want: sandbox.ErrInvalid},
		"no disk":           {change: func(p *puller) { p.a.Config.DiskMiB = -1 }, want: sandbox.ErrInvalid},
		"a long user":       {change: func(p *puller) { p.a.Config.User = strings.Repeat("x", maxText+1) }, want: sandbox.ErrInvalid},
		"a variable":        {change: func(p *puller) { p.a.Config.Env = map[string]string{"A=B": ""} }, want: sandbox.ErrInvalid},
		"many variables":    {change: func(p *puller) { p.a.Config.Env = map[string]string{"A": strings.Repeat("x", sandbox.MaxVariable)} }, want: sandbox.ErrInvalid},
		"variables that builds can have": {change: func(p *puller) {
			p.a.Config.Env = map[string]string{"BASH_FUNC_x%%": "() { :; }", "1": ""}
			for _, name := range []string{"A", "B", "C", "D"} {
				p.a.Config.Env[name] = strings.Repeat("x", sandbox.MaxVariable-10)
			}
		}},
		"a value that no program can have": {change: func(p *puller) { p.a.Config.Env = map[string]string{"A": "x\x00y"} }, want: sandbox.ErrInvalid},
		"a repository": {change: func(p *puller) {
			p.a.Config.Repository = &artifact.Repository{URL: "https://git.example/app", Branch: "main", Commit: strings.Repeat("a", 40), Checkout: "/home/user/app", User: "user"}
		}},
		"an option for a branch": {change: func(p *puller) {
			p.a.Config.Repository = &artifact.Repository{URL: "https://git.example/app", Branch: "--upload-pack=x", Checkout: "/a"}
		}, want: sandbox.ErrInvalid, text: "option"},
		"no checkout": {change: func(p *puller) {
			p.a.Config.Repository = &artifact.Repository{URL: "https://git.example/app", Branch: "main"}
		}, want: sandbox.ErrInvalid, text: "repository"},
		"what does not fit":  {change: func(p *puller) { p.mover = said{err: vm.ErrIncompatible} }, want: vm.ErrIncompatible},
		"no engine":          {change: func(p *puller) { p.mover = said{missing: "e1"} }, want: vm.ErrIncompatible, text: "neither here"},
		"another engine":     {change: func(p *puller) { p.mover, p.a.Config.Files = said{missing: "e2"}, engine }, want: vm.ErrIncompatible, text: "neither here"},
		"an engine":          {change: func(p *puller) { p.mover, p.a.Config.Files = said{missing: "e1"}, engine }, want: vm.ErrIncompatible, text: "another version"},
		"an engine, trusted": {change: func(p *puller) { p.mover, p.a.Config.Files, p.cfg.TrustEngine = said{missing: "e1"}, engine, true }},
	} {
		t.Run(name, func(t *testing.T) {
			p := &puller{Parts: parts, mover: said{}, name: "app", tag: "v1", a: &artifact.Artifact{Config: artifact.Config{
				Driver: parts.Driver.Info().Driver, Token: strings.Repeat("0", 64), VCPUs: 1, MemoryMiB: 512, DiskMiB: 1024, Env: map[string]string{"A": "b"}}}}
			c.change(p)
			err := p.check(t.Context())
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, want %v with %q", err, c.want, c.text)
			}
		})
	}
}

// A pull waits for a caller that only looks whether it goes on, and not for another pull.
func TestOnePullOfATemplateAtATime(t *testing.T) {
	staging := filepath.Join(t.TempDir(), "0123")
	first, err := new(puller).lock(t.Context(), staging)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := new(puller).lock(t.Context(), staging); !errors.Is(err, sandbox.ErrConflict) {
		t.Errorf("a second pull: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := new(puller).lock(ended, staging); !errors.Is(err, context.Canceled) {
		t.Errorf("a second pull that is broken off: %v", err)
	}
	first.Close()
	look, err := flock.TryShared(staging + space.PullLock)
	if err != nil {
		t.Fatal(err)
	}
	context.AfterFunc(ended, func() { look.Close() })
	if first, err = new(puller).lock(t.Context(), staging); err != nil {
		t.Fatal(err)
	}
	first.Close()
}
