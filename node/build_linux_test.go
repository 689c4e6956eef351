package node_test

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/rundlet/rundlet/image/oci/ocitest"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/sandbox"
)

// begin does a build to its end.
func begin(t *testing.T, n *node.Node, req sandbox.TemplateRequest, r sandbox.Recipe) sandbox.Build {
	t.Helper()
	b, err := n.Runtime.BeginBuild(t.Context(), req)
	if err == nil {
		err = n.Runtime.StartBuild(t.Context(), b.TemplateID, b.ID, r)
	}
	for err == nil && b.State != sandbox.BuildReady && b.State != sandbox.BuildFailed {
		<-time.After(5 * time.Millisecond) // A client polls.
		b, err = n.Runtime.GetBuild(t.Context(), b.TemplateID, b.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// build builds a template and returns the log.
func build(t *testing.T, n *node.Node, req sandbox.TemplateRequest, r sandbox.Recipe) string {
	t.Helper()
	b := begin(t, n, req, r)
	lines, err := n.Runtime.BuildLogs(t.Context(), b.TemplateID, b.ID, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, l := range lines {
		text.WriteString(l.Time.Format("05.000 ") + l.Step + " " + l.Message + "\n")
	}
	if b.Failure != nil {
		t.Fatalf("%+v\n%s", b.Failure, text.String())
	}
	return text.String()
}

// A template is built in a real guest: its steps see each other's files and variables, what it starts runs in its sandboxes, and a
// second build does nothing again. All of it outlives a restart.
func TestATemplateIsBuiltInAGuest(t *testing.T) {
	cfg := config(t)
	n := open(t, cfg)
	recipe := sandbox.Recipe{FromImage: "e2bdev/base", Steps: []sandbox.RecipeStep{
		{Type: "ENV", Args: []string{"GREETING", "hello", "LONGER", "$GREETING to you", "PATH", "/opt/bin:$PATH"}},
		{Type: "RUN", Args: []string{"mkdir -p /opt/bin && printf '#!/bin/sh\necho tool\n' >/opt/bin/tool && chmod +x /opt/bin/tool", "root"}},
		{Type: "USER", Args: []string{"worker"}},
		{Type: "WORKDIR", Args: []string{"/srv/app"}},
		{Type: "RUN", Args: []string{`tool >out; echo "$LONGER" >>out; id -un >>out; date +%s%N >stamp`}},
	}, StartCmd: "sleep 1000 & echo $! >/srv/app/pid; wait", ReadyCmd: "test -s /srv/app/pid"}
	use := func(command string) string {
		t.Helper()
		sb, err := n.Runtime.Create(t.Context(), sandbox.CreateRequest{Template: "mine", Timeout: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		got := output(t, n, sb, command)
		if err := n.Runtime.Kill(t.Context(), sb.ID); err != nil {
			t.Error(err)
		}
		return got
	}
	text := build(t, n, sandbox.TemplateRequest{Name: "mine"}, recipe)
	t.Log(text)
	want := "worker /srv/app hello to you\ntool\nhello to you\nworker\nalive\n"
	look := `echo "$(id -un) $(pwd) $LONGER"; cat out; kill -0 "$(cat pid)" && echo alive`
	if got := use(look); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	stamp := use("cat stamp")
	begin := time.Now()
	text = build(t, n, sandbox.TemplateRequest{Name: "mine"}, recipe)
	t.Logf("again in %v:\n%s", time.Since(begin), text)
	if !strings.Contains(text, "CACHED [builder 5/5]") || use("cat stamp") != stamp {
		t.Errorf("it was done again:\n%s", text)
	}
	build(t, n, sandbox.TemplateRequest{Name: "sized", VCPUs: 1, MemoryMiB: 1500}, sandbox.Recipe{FromTemplate: "base", Steps: []sandbox.RecipeStep{
		{Type: "RUN", Args: []string{"grep -q 1536000 /proc/meminfo"}}}})
	shut(t, n, node.LeaveAll)
	n = open(t, cfg)
	if got := use(look); got != want {
		t.Errorf("after a restart: got %q, want %q", got, want)
	}
}

// minimal is an image with a few programs, the variable FROM_IMAGE, and the text in /data/kept.
func minimal(t *testing.T, kept string) v1.Image {
	t.Helper()
	files, err := ocitest.HostPrograms("sh", "cat", "ls", "id", "mkdir", "chown", "env")
	if err != nil {
		t.Fatal(err)
	}
	first, errA := ocitest.Layer(append(files, ocitest.Symlink("bin", "usr/bin"), ocitest.Symlink("lib", "usr/lib"), ocitest.Symlink("lib64", "usr/lib64"),
		ocitest.Regular("data/old", "old"), ocitest.Regular("data/kept", kept))...)
	second, errB := ocitest.Layer(ocitest.Regular("data/.wh.old", ""))
	image, errC := ocitest.Image(v1.Config{Env: []string{"PATH=/usr/bin:/bin", "FROM_IMAGE=yes"}, User: "root", WorkingDir: "/data"}, first, second)
	if err := errors.Join(errA, errB, errC); err != nil {
		t.Fatal(err)
	}
	return image
}

// A template begins with an image of a registry, which is pulled once, and outlives the image's name.
func TestATemplateBeginsWithAnImage(t *testing.T) {
	cfg := config(t)
	image := minimal(t, "kept\n")
	pulls := 0
	blobs := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); strings.Contains(r.URL.Path, "/private/") && user+password != "annsecret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/manifests/") {
			pulls++
		}
		blobs.ServeHTTP(w, r)
	}))
	defer server.Close()
	for _, repository := range []string{"/test/minimal:1", "/test/private/minimal:1"} {
		ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + repository)
		if err == nil {
			err = remote.Write(ref, image, remote.WithAuth(&authn.Basic{Username: "ann", Password: "secret"}))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	pulls = 0
	host := strings.TrimPrefix(server.URL, "http://")
	cfg.Mirrors, cfg.PrivateRegistries = map[string]string{"docker.io": server.URL}, []string{host}
	n := open(t, cfg)
	recipe := func(command string) sandbox.Recipe {
		return sandbox.Recipe{FromImage: "test/minimal:1", Steps: []sandbox.RecipeStep{{Type: "WORKDIR", Args: []string{"/srv"}}, {Type: "RUN", Args: []string{command}}}}
	}
	t.Log(build(t, n, sandbox.TemplateRequest{Name: "mine"}, recipe("echo $FROM_IMAGE >said; id -un >>said; ls /data >>said")))
	build(t, n, sandbox.TemplateRequest{Name: "other"}, recipe("echo other >said"))
	if pulls != 1 {
		t.Errorf("%d pulls", pulls)
	}
	sb, err := n.Runtime.Create(t.Context(), sandbox.CreateRequest{Template: "mine", Timeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if got := output(t, n, sb, "cat said; echo $FROM_IMAGE; cat /data/kept"); got != "yes\nuser\nkept\nyes\nkept\n" {
		t.Errorf("got %q", got)
	}
	private := sandbox.Recipe{FromImage: host + "/test/private/minimal:1", Registry: &sandbox.Registry{Type: "registry", Username: "ann", Password: "secret"}}
	build(t, n, sandbox.TemplateRequest{Name: "private"}, private)
	private.Registry = nil
	if failure := begin(t, n, sandbox.TemplateRequest{Name: "stolen"}, private).Failure; failure == nil || failure.Step != sandbox.StepBase {
		t.Errorf("without credentials: %+v", failure)
	}
}

// What was pulled with credentials is not found without them.
func TestAnImageWithoutANameIsNotFound(t *testing.T) {
	layer, errA := ocitest.Layer(ocitest.Regular("a", "a"))
	image, errB := ocitest.Image(v1.Config{}, layer)
	digest, errC := image.ConfigName()
	if err := errors.Join(errA, errB, errC); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	ref, err := name.ParseReference(host + "/a:1")
	if err == nil {
		err = remote.Write(ref, image)
	}
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(t)
	cfg.PrivateRegistries = []string{host}
	n := open(t, cfg)
	recipe := sandbox.Recipe{FromImage: host + "/a:1", Registry: &sandbox.Registry{Type: "registry", Username: "ann", Password: "secret"}}
	begin(t, n, sandbox.TemplateRequest{Name: "first"}, recipe) // It fails: there is no shell in it. The image is there.
	for _, name := range []string{digest.String(), digest.String()[:12], digest.Hex, digest.Hex[:6]} {
		failure := begin(t, n, sandbox.TemplateRequest{Name: "stolen"}, sandbox.Recipe{FromImage: name}).Failure
		if failure == nil || failure.Step != sandbox.StepBase {
			t.Errorf("%s: %+v", name, failure)
		}
	}
}
