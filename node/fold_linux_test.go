package node_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/rundlet/rundlet/image/oci/ocitest"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/sandbox"
)

// foldImage loads an image whose files writeAll changes.
func foldImage(t *testing.T, cfg node.Config) {
	t.Helper()
	files, err := ocitest.HostPrograms("sh", "cat", "id", "mkdir", "chown", "env", "sleep", "dd")
	if err != nil {
		t.Fatal(err)
	}
	probe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	layer, errA := ocitest.Layer(append(files, ocitest.Symlink("bin", "usr/bin"), ocitest.Symlink("lib", "usr/lib"), ocitest.Symlink("lib64", "usr/lib64"),
		ocitest.Program("usr/bin/probe", string(probe), 0o755), ocitest.Regular("data/file", "1"), ocitest.Regular("data/dir/a", "2"), ocitest.Regular("data/dir-to-file/b", "3"),
		ocitest.Regular("data/file-to-dir", "4"), ocitest.Regular("data/another/gone", "5"), ocitest.Symlink("data/link-to-dir", "dir"), ocitest.Symlink("data/link", "file"),
		ocitest.Regular("data/moved/f", "6"), ocitest.Regular("data/kept", "7"), ocitest.Regular("data/mode", "8"), ocitest.Regular("data/owner", "9"),
		ocitest.Regular("data/shorter", "longer"), ocitest.Regular("data/changed", "content"), ocitest.Regular("data/one-of-two", "two"), ocitest.HardLink("data/two-of-two", "data/one-of-two"),
		ocitest.Regular("data/untouched", "10"), ocitest.Regular("data/looks-opaque/of-the-image", "11"), ocitest.Regular("data/sub/from", "12"),
		ocitest.Regular("data/swap-a", "13"), ocitest.Regular("data/swap-b", "14"))...)
	image, errB := ocitest.Image(v1.Config{Env: []string{"PATH=/usr/bin:/bin"}}, layer)
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	load(t, cfg, "mine/fold:1", image)
}

const folded = "are in the image of the template"

// roots are the images that were made of what builds wrote.
func roots(t *testing.T, cfg node.Config) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(cfg.Dirs.Images(), "template-*.erofs"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What the steps of a build wrote is in the image of its template, and each sandbox sees what the build's machine saw.
func TestATemplateHasItsFilesInItsImage(t *testing.T) {
	cfg := config(t)
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil)) // It has the reason why something is not done.
	foldImage(t, cfg)
	n := open(t, cfg)
	run := func(what string) sandbox.RecipeStep {
		return sandbox.RecipeStep{Type: "RUN", Args: []string{what, "root"}}
	}
	recipe := sandbox.Recipe{FromImage: "mine/fold:1", Steps: []sandbox.RecipeStep{
		run(probeEnv + "=write probe"), {Type: "ENV", Args: []string{"GREETING", "hello"}}, {Type: "WORKDIR", Args: []string{"/srv"}}, run(probeEnv + "=list probe >/listing"),
	}}
	text := build(t, n, sandbox.TemplateRequest{Name: "mine"}, recipe)
	t.Log(text)
	if !strings.Contains(text, folded) || len(roots(t, cfg)) != 1 {
		t.Fatalf("it is not in an image; there are %q", roots(t, cfg))
	}
	compare := func(sb sandbox.Sandbox) {
		t.Helper()
		was, now := output(t, n, sb, "cat /listing"), output(t, n, sb, "sudo env "+probeEnv+"=list probe")
		before := map[string]bool{}
		for line := range strings.Lines(was) {
			before[line] = true
		}
		lines := 0
		for line := range strings.Lines(now) {
			if lines++; !before[line] {
				t.Errorf("a sandbox has   %s", line)
			}
			delete(before, line)
		}
		for line := range before {
			t.Errorf("the build had %s", line)
		}
		if lines < 400 {
			t.Errorf("only %d files are compared", lines)
		}
	}
	create := func(name string) sandbox.Sandbox {
		t.Helper()
		sb, err := n.Runtime.Create(t.Context(), sandbox.CreateRequest{Template: name, Timeout: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return sb
	}
	sb := create("mine")
	compare(sb)
	if got := output(t, n, sb, "pwd; echo $GREETING; cat /etc/hostname"); got != "/srv\nhello\n"+sb.ID+"\n" {
		t.Errorf("got %q", got)
	}
	// A sandbox is paused, resumed and forked as any other.
	if err := n.Runtime.Pause(t.Context(), sb.ID, true); err != nil {
		t.Fatal(err)
	}
	if _, _, err := n.Runtime.Connect(t.Context(), sb.ID, time.Hour); err != nil {
		t.Fatal(err)
	}
	compare(sb)
	if forks, err := n.Runtime.Fork(t.Context(), sb.ID, sandbox.ForkRequest{Count: 1, Timeout: time.Hour}); err != nil || len(forks) != 1 || forks[0].Err != nil {
		t.Errorf("%+v, %v", forks, err)
	} else {
		compare(forks[0].Sandbox)
	}
	output(t, n, sb, "sudo env "+probeEnv+"=use probe")
	// Another template begins with it, and has its image beside it; a later build of the same steps has the layers of before.
	text = build(t, n, sandbox.TemplateRequest{Name: "next"}, sandbox.Recipe{FromTemplate: "mine", Steps: []sandbox.RecipeStep{run("dd if=/n/large of=/next && echo $GREETING >>/next")}})
	if !strings.Contains(text, folded) || len(roots(t, cfg)) != 2 {
		t.Errorf("it is not in an image; there are %q\n%s", roots(t, cfg), text)
	}
	if got := output(t, n, create("next"), "dd if=/next bs=1M skip=20; cat /n/hard2"); got != "hello\nlinked" {
		t.Errorf("got %q", got)
	}
	recipe.Steps = append(recipe.Steps, run("echo more >/more"))
	if text = build(t, n, sandbox.TemplateRequest{Name: "mine"}, recipe); !strings.Contains(text, "CACHED [builder 4/5]") || !strings.Contains(text, folded) {
		t.Error(text)
	}
	shut(t, n, node.LeaveAll)
	n = open(t, cfg)
	compare(create("mine"))
}

// Where something would be lost, the files stay in memory.
func TestWhatRunsStaysInTheTemplate(t *testing.T) {
	cfg := config(t)
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil)) // It has the reason why something is not done.
	foldImage(t, cfg)
	n := open(t, cfg)
	for name, command := range map[string]string{"process": "sleep 100000 >/dev/null 2>&1 &", "shared": "echo kept >/dev/shm/file"} {
		text := build(t, n, sandbox.TemplateRequest{Name: name}, sandbox.Recipe{FromImage: "mine/fold:1", Steps: []sandbox.RecipeStep{
			{Type: "RUN", Args: []string{"dd if=/dev/urandom of=/large bs=1M count=20; " + command, "root"}}}})
		if strings.Contains(text, folded) || len(roots(t, cfg)) > 0 {
			t.Errorf("%s is lost:\n%s", name, text)
		}
		sb, err := n.Runtime.Create(t.Context(), sandbox.CreateRequest{Template: name, Timeout: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if name == "shared" && output(t, n, sb, "cat /dev/shm/file") != "kept\n" {
			t.Error("the file in memory is lost")
		}
	}
}
