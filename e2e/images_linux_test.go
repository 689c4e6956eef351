package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/sandbox"
)

// debianEnv names an archive of a root directory of Debian; scripts/images makes it.
const debianEnv = "E2E_DEBIAN"

// imageRounds is how often each image is pulled, each time by a new node.
const imageRounds = 3

// realImage is an image in a registry, and its layers as files.
type realImage struct {
	name, reference string
	layers          []string
	// list is what `find` must print of it; empty if they are not compared.
	list []string
}

// TestRealImages pulls images of real size, builds templates from them, and compares what a sandbox sees with what was put in.
func TestRealImages(t *testing.T) {
	debian := os.Getenv(debianEnv)
	if debian == "" {
		t.Skipf("%s is not set: run make images", debianEnv)
	}
	dir, err := os.MkdirTemp(os.Getenv(dirEnv), "images-")
	if err != nil {
		t.Fatal(err)
	}
	blobs := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithBlobHandler(registry.NewDiskBlobHandler(dir))))
	defer blobs.Close()
	host := strings.TrimPrefix(blobs.URL, "http://")
	images := []realImage{{name: "debian", layers: []string{debian}}, {name: "large", layers: largeLayers(t, dir)}}
	for i := range images {
		images[i].reference = host + "/test/" + images[i].name + ":1"
		images[i].push(t)
	}
	images[0].list = listOf(t, debian)
	for _, image := range images {
		var rounds []imageFigures
		for range imageRounds {
			rounds = append(rounds, image.round(t, host))
		}
		reportImages(t, image.name, rounds)
	}
}

// imageFigures are those of one round.
type imageFigures struct {
	bare, first, build, again, second, base, step time.Duration
	peak, disk, more                              int64
}

// round pulls the image into a new node.
func (r realImage) round(t *testing.T, host string) (f imageFigures) {
	t.Helper()
	srv, api, dir := newServer(t, "--private-registry="+host)
	defer srv.stop(t)
	ctx := t.Context()
	f.bare = r.unpack(t)
	state := filepath.Join(dir, "state")
	before := allocated(t, state)

	recipe := sandbox.Recipe{FromImage: r.reference}
	begin := time.Now()
	r.build(t, api, "first", recipe)
	f.build = time.Since(begin)
	sb, err := api.Create(ctx, "first", time.Hour)
	if err == nil {
		_, err = run(ctx, api, sb, "true")
	}
	if err != nil {
		t.Fatalf("%s: %v", r.name, err)
	}
	f.first = time.Since(begin)
	f.disk = allocated(t, state) - before
	f.peak = peakOf(t, srv.cmd.Process.Pid)
	if r.list != nil {
		r.look(t, api, sb)
	}
	// A build with steps has layers; the same one again finds them.
	const steps = 10
	for range steps {
		recipe.Steps = append(recipe.Steps, sandbox.RecipeStep{Type: "RUN", Args: []string{"true"}})
	}
	had := allocated(t, state)
	began := time.Now()
	r.build(t, api, "second", recipe)
	f.step = time.Since(began) / steps
	f.more = allocated(t, state) - had
	began = time.Now()
	r.build(t, api, "again", recipe)
	f.again = time.Since(began)
	f.second, f.base = createTime(t, api, "first"), createTime(t, api, "base")
	return f
}

func (r realImage) build(t *testing.T, api client.API, name string, recipe sandbox.Recipe) {
	t.Helper()
	if _, err := api.Build(t.Context(), client.BuildOptions{TemplateRequest: client.TemplateRequest{Name: name}, Recipe: recipe}); err != nil {
		t.Fatalf("build %s from %s: %v", name, r.name, err)
	}
}

// look compares what a sandbox sees with what is in the archive.
func (r realImage) look(t *testing.T, api client.API, sb client.Sandbox) {
	t.Helper()
	out, err := runAs(t.Context(), api, sb, "root", findCommand)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimRight(out, "\n"), "\n")
	slices.Sort(got)
	in := func(list []string, line string) bool { _, found := slices.BinarySearch(list, line); return found }
	// What each machine has besides.
	got = slices.DeleteFunc(got, func(line string) bool {
		path, _, _ := strings.Cut(line, " ")
		return path == "/.rundlet" || strings.HasPrefix(path, "/.rundlet/") || line == "/usr/bin/sudo l 777 0:0 /.rundlet/bin/sudo"
	})
	different := 0
	for _, line := range r.list {
		if !in(got, line) {
			different++
			t.Logf("missing: %s", line)
		}
	}
	for _, line := range got {
		if !in(r.list, line) {
			different++
			t.Logf("more: %s", line)
		}
	}
	if different > 0 {
		t.Errorf("%s: %d of %d names differ", r.name, different, len(r.list))
	}
	out, err = runAs(t.Context(), api, sb, "root", "dpkg --verify; dpkg-query -W | wc -l; apt-get --version | head -1; perl -e 'print 6*7'")
	if err != nil {
		t.Error(err)
	}
	if strings.Contains(out, "/") || !strings.HasSuffix(out, "42") {
		t.Errorf("%s: %s", r.name, out)
	}
	t.Logf("%s: %d names are as in the archive; %s", r.name, len(r.list), out)
}

// runAs is run of another user of the guest.
func runAs(ctx context.Context, api client.API, sb client.Sandbox, user, command string) (string, error) {
	var out, errs bytes.Buffer
	code, err := api.Agent(sb).Run(ctx, client.Command{Args: []string{"/bin/bash", "-c", command}, User: user, Stdout: &out, Stderr: &errs})
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d: %s", code, errs.String())
	}
	return out.String(), err
}

// unpack is the bare mechanism: the same layers by tar, and to the disk.
func (r realImage) unpack(t *testing.T) time.Duration {
	t.Helper()
	dir, err := os.MkdirTemp(os.Getenv(dirEnv), "bare-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	began := time.Now()
	for _, layer := range r.layers {
		if out, err := exec.CommandContext(t.Context(), "tar", "-C", dir, "-xf", layer).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "sync", "-f", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return time.Since(began)
}

// createTime is the median of ten creates, each with a command.
func createTime(t *testing.T, api client.API, template string) time.Duration {
	t.Helper()
	var all []time.Duration
	for range 10 {
		began := time.Now()
		sb, err := api.Create(t.Context(), template, time.Minute)
		if err == nil {
			_, err = run(t.Context(), api, sb, "true")
		}
		all = append(all, time.Since(began))
		if err == nil {
			err = api.Kill(t.Context(), sb.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return median(all)
}

// allocated is what the files below a directory take on the disk, in bytes.
func allocated(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	seen := map[uint64]bool{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); err == nil && ok && !seen[st.Ino] {
			seen[st.Ino] = true
			bytes += st.Blocks * 512
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// peakOf is the most memory that a process ever had, in bytes.
func peakOf(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// reportImages prints the medians of the rounds.
func reportImages(t *testing.T, name string, rounds []imageFigures) {
	t.Helper()
	of := func(get func(imageFigures) time.Duration) float64 {
		var all []time.Duration
		for _, f := range rounds {
			all = append(all, get(f))
		}
		return median(all).Seconds()
	}
	var ratios []float64
	var peak int64
	for _, f := range rounds {
		ratios = append(ratios, f.first.Seconds()/f.bare.Seconds())
		t.Logf("%s: tar %v, pull to first sandbox %v", name, f.bare, f.first)
		peak = max(peak, f.peak)
	}
	record(t, "RealImages "+name, map[string]any{
		"rounds": len(rounds), "tar_s": of(func(f imageFigures) time.Duration { return f.bare }),
		"pull_to_first_sandbox_s": of(func(f imageFigures) time.Duration { return f.first }), "ratios": ratios,
		"build_s": of(func(f imageFigures) time.Duration { return f.build }), "run_step_s": of(func(f imageFigures) time.Duration { return f.step }),
		"cached_build_s": of(func(f imageFigures) time.Duration { return f.again }),
		"create_s":       of(func(f imageFigures) time.Duration { return f.second }), "create_base_s": of(func(f imageFigures) time.Duration { return f.base }),
		"daemon_peak_mib": peak >> 20, "disk_mib": rounds[0].disk >> 20, "ten_layers_mib": rounds[0].more >> 20,
	})
}
