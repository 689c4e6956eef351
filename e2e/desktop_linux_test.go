package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// debsEnv names a directory with the packages of each recipe that has some; scripts/recipes makes it.
const debsEnv = "E2E_DEBS"

// recipeTest is a ready recipe that begins with Debian, and the unmodified clients that use it.
type recipeTest struct {
	name    string // of its directory in templates
	clients []suite
	files   map[string]string // the cases, by the kind of the client
}

var (
	desktopRecipe = recipeTest{"desktop", []suite{{"pypi", "desktop-2.7.2"}, {"npm", "desktop-2.4.0"}}, map[string]string{"npm": "js/desktop.mjs", "pypi": "python/desktop.py"}}
	browserRecipe = recipeTest{"browser", []suite{{"npm", "playwright-1.65.1"}}, map[string]string{"npm": "js/browser.mjs"}}
)

// recipeClients are the clients of all recipes, to be installed.
func recipeClients() (all []suite) {
	for _, r := range []recipeTest{desktopRecipe, browserRecipe} {
		all = append(all, r.clients...)
	}
	return all
}

func TestRecipeDesktop(t *testing.T) { desktopRecipe.run(t) }
func TestRecipeBrowser(t *testing.T) { browserRecipe.run(t) }

// run builds the template as the recipe's README says, without the internet, and lets the clients use it over TLS.
func (r recipeTest) run(t *testing.T) {
	if os.Getenv(debsEnv) == "" {
		t.Skipf("%s is not set: run make recipes", debsEnv)
	}
	dir := t.TempDir()
	useNameServer(t, "127.0.0.1")
	before := takeStock(t)
	srv, _, _ := startNamed(t, dir, cold...)
	loadDebian(t, srv, dir)
	ids := filepath.Join(dir, "sandbox-ids")
	if err := os.WriteFile(ids, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	srv.must(t, r.build(t)...)
	t.Logf("the template was built in %.0f s", time.Since(begin).Seconds())
	for _, s := range r.clients {
		t.Run(s.name(), func(t *testing.T) {
			s.run(t, append(srv.sdkEnv, "E2E_IDS="+ids), []string{r.files[s.kind]})
			if t.Failed() {
				t.Log(srv.logTail())
			}
		})
	}
	srv.must(t, "template", "rm", r.name)
	srv.must(t, "image", "rm", "debian:bookworm-slim")
	checkSandboxesGone(t, dir, ids)
	srv.stop(t)
	before.compare(t)
}

// loadDebian gives a server the image that the recipes begin with, out of the archive of its root.
func loadDebian(t *testing.T, srv *server, dir string) {
	t.Helper()
	archive := filepath.Join(dir, "debian.tar")
	tag, err := name.NewTag("debian:bookworm-slim")
	if err == nil {
		err = tarball.WriteToFile(archive, tag, imageOf(t, os.Getenv(debianEnv)))
	}
	if err != nil {
		t.Fatal(err)
	}
	srv.must(t, "image", "load", archive)
}

// build is the command of the recipe's README, with a copy of its directory that has the packages, too.
func (r recipeTest) build(t *testing.T) []string {
	t.Helper()
	args := buildCommand(t, r.name)
	copied := t.TempDir()
	for _, from := range []string{filepath.Join("../templates", r.name), filepath.Join(os.Getenv(debsEnv), r.name, "debs")} {
		to := copied
		if filepath.Base(from) == "debs" {
			to = filepath.Join(copied, "debs")
			if err := os.RemoveAll(to); err != nil { // Those of the tree are somebody else's.
				t.Fatal(err)
			}
		}
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	args[2] = copied
	return args
}

var (
	documentedBuild = regexp.MustCompile(`(?m)^    rundlet (template build templates/.*)$`)
	documentedWord  = regexp.MustCompile(`"[^"]*"|\S+`)
)

// buildCommand is the first command with which the README of a recipe builds its template, without the name of the program.
func buildCommand(t *testing.T, recipe string) (args []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../templates", recipe, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := documentedBuild.FindSubmatch(text)
	if found == nil {
		t.Fatalf("the README of %s has no command that builds it", recipe)
	}
	for _, word := range documentedWord.FindAllString(string(found[1]), -1) {
		args = append(args, strings.Trim(word, `"`))
	}
	return args
}
