package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/image/oci/ocitest"
	"github.com/rundlet/rundlet/sandbox"
)

// imageFile makes a container image with a shell, as "docker save" writes it.
func imageFile(t *testing.T) string {
	t.Helper()
	files, errA := ocitest.HostPrograms("sh", "cat", "ls", "id", "mkdir", "chown", "env", "sleep", "date")
	layer, errB := ocitest.Layer(append(files, ocitest.Symlink("bin", "usr/bin"), ocitest.Symlink("lib", "usr/lib"), ocitest.Symlink("lib64", "usr/lib64"))...)
	image, errC := ocitest.Image(v1.Config{Env: []string{"PATH=/usr/bin:/bin"}}, layer)
	tag, errD := name.NewTag("mine/minimal:1")
	file := filepath.Join(dirOfUser(t), "image.tar")
	if err := errors.Join(errA, errB, errC, errD); err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(file, tag, image); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestATemplateMovesByFile takes a template to another node in a file, and kills the pull at each of its steps: beside a daemon, which goes on.
func TestATemplateMovesByFile(t *testing.T) {
	srv, api, _ := newServer(t)
	srv.must(t, "image", "load", imageFile(t))
	_, err := api.Build(t.Context(), client.BuildOptions{TemplateRequest: client.TemplateRequest{Name: "mine"}, Recipe: sandbox.Recipe{
		FromImage: "mine/minimal:1", Steps: []sandbox.RecipeStep{{Type: "RUN", Args: []string{"echo made here > /tmp/said"}}}, StartCmd: "sleep 100000 & echo $! > /tmp/pid; wait", ReadyCmd: "test -s /tmp/pid"}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dirOfUser(t), "mine.tar")
	out, _ := srv.must(t, "template", "push", "mine", file)
	t.Log(out)
	if _, errs, code := srv.cli(t, "template", "push", "base", file); code == 0 || !strings.Contains(errs, "not found") {
		t.Errorf("the base: exit %d, %s", code, errs)
	}
	srv.stop(t)

	srv, api, dir := newServer(t)
	srv.prune(t) // It makes the lock of the state directory that commands share.
	before := takeCensus(t, dir)
	for _, step := range []string{"build.begun", "snapshot.saved", "build.saved", "build.outcome"} {
		cmd := user.commandContext(t.Context(), os.Getenv(binEnv), "template", "pull", file)
		cmd.Env = append(slices.Clone(srv.cmd.Env), "RUNDLET_FAILPOINT="+step)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "failpoint "+step) {
			t.Fatalf("%s: %v, %s", step, err, out)
		}
		if sb, err := api.Create(t.Context(), "mine", time.Minute); (err == nil) != (step == "build.outcome") {
			t.Errorf("%s: created %s, %v", step, sb.ID, err)
		} else if err == nil {
			if err := api.Kill(t.Context(), sb.ID); err != nil {
				t.Error(err)
			}
		}
		srv = srv.crash(t, dir)
		api = srv.api()
	}
	again, _ := srv.must(t, "template", "pull", file)
	if again != strings.Replace(out, "mine:", "mine:default:", 1) {
		t.Errorf("pushed %q, pulled %q", out, again)
	}
	sb, err := api.Create(t.Context(), "mine", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := run(t.Context(), api, sb, `cat /tmp/said; kill -0 "$(cat /tmp/pid)" && echo runs`); err != nil || got != "made here\nruns\n" {
		t.Errorf("%q, %v", got, err)
	}
	past, _ := srv.must(t, "template", "history", "mine")
	if strings.Count(past, " ready ") == 0 || !strings.Contains(past, "the daemon was restarted") {
		t.Errorf("%s", past)
	}
	if err := errors.Join(api.Kill(t.Context(), sb.ID), api.DeleteTemplate(t.Context(), "mine")); err != nil {
		t.Error(err)
	}
	for _, o := range strings.Fields(func() string { out, _ := srv.must(t, "orphan", "ls"); return out }()) {
		if strings.HasPrefix(o, "20") && strings.Contains(o, "bld-") { // The files of the pull that was killed before its row.
			srv.must(t, "orphan", "rm", o)
		}
	}
	srv = srv.crash(t, dir)
	before.await(t, dir)
	if left := srv.df(t); left["templates"].Count != 0 || left["orphans"].Count != 0 || left["images"].Count != 0 {
		t.Errorf("left: %+v", left)
	}
	srv.stop(t)
}
