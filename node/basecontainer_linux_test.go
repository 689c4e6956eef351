package node_test

import (
	"io"
	"log"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/rundlet/rundlet/image/catalogue"
	"github.com/rundlet/rundlet/image/guest"
	fetch "github.com/rundlet/rundlet/image/oci/registry"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/sandbox"
)

// The base is made of a container image with its variables, which a boot without memory and templates have, too. It needs the registry once, and goes on
// without the image's name; another image of that name is taken at the next start.
func TestTheBaseIsMadeOfAContainerImage(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/test/minimal:1")
	if err != nil {
		t.Fatal(err)
	}
	push := func(kept string) {
		t.Helper()
		if err := remote.Write(ref, minimal(t, kept)); err != nil {
			t.Fatal(err)
		}
	}
	push("one\n")
	cfg := config(t)
	cfg.BaseContainer = ref.String()
	n := open(t, cfg)
	const look = "echo $FROM_IMAGE; id -un; cat /data/kept"
	create := func(n *node.Node, template string) sandbox.Sandbox {
		t.Helper()
		sb, err := n.Runtime.Create(t.Context(), sandbox.CreateRequest{Template: template, Timeout: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return sb
	}
	check := func(n *node.Node, sb sandbox.Sandbox, want string) {
		t.Helper()
		if got := output(t, n, sb, look); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	sb := create(n, "base")
	check(n, sb, "yes\nuser\none\n")
	if err := n.Runtime.Pause(t.Context(), sb.ID, false); err != nil {
		t.Fatal(err)
	}
	if _, _, err := n.Runtime.Connect(t.Context(), sb.ID, time.Hour); err != nil {
		t.Fatal(err)
	}
	check(n, sb, "yes\nuser\none\n")
	build(t, n, sandbox.TemplateRequest{Name: "mine"}, sandbox.Recipe{FromTemplate: "base", Steps: []sandbox.RecipeStep{{Type: "RUN", Args: []string{"env >said"}}}})
	if got := output(t, n, create(n, "mine"), "cat said; "+look); !strings.Contains(got, "FROM_IMAGE=yes\n") || !strings.HasSuffix(got, "yes\nuser\none\n") {
		t.Errorf("in a template of it: %q", got)
	}
	beside := cfg
	beside.Ephemeral, beside.BaseContainer = true, ""
	short := open(t, beside)
	check(short, create(short, "base"), "yes\nuser\none\n")
	shut(t, short, node.EndAll)
	shut(t, n, node.EndAll)

	push("two\n")
	images, err := catalogue.Open(catalogue.Config{Dir: cfg.Dirs.Images(), Guest: guest.Config{AgentPath: agentOf(t, cfg)}})
	if err != nil {
		t.Fatal(err)
	}
	_, release, err := images.Pull(t.Context(), ref.String(), fetch.Config{}, func(catalogue.Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	release()
	n = open(t, cfg)
	check(n, create(n, "base"), "yes\nuser\ntwo\n")
	before, err := n.Runtime.Template(t.Context(), "base")
	if err != nil {
		t.Fatal(err)
	}
	shut(t, n, node.EndAll)

	server.Close()
	if err := images.Remove(ref.String()); err != nil {
		t.Fatal(err)
	}
	n = open(t, cfg)
	check(n, create(n, "base"), "yes\nuser\ntwo\n")
	if after, err := n.Runtime.Template(t.Context(), "base"); err != nil || after.BuildID != before.BuildID {
		t.Errorf("without the image's name the base was built anew: %+v, %v", after, err)
	}
}

// agentOf is the agent of a node's images.
func agentOf(t *testing.T, cfg node.Config) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(cfg.Dirs.AgentDir(), "*"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no agent: %v", err)
	}
	return found[0]
}
