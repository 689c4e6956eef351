package e2e

import (
	"archive/zip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const hello = `cat >hello.go <<'END'
package main

import "fmt"

func main() { fmt.Println("hello") }
END
`

const module = `mkdir module && cd module && go mod init example.com/module 2>/dev/null
cat >add.go <<'END'
package module

func Add(a, b int) int { return a + b }
END
cat >add_test.go <<'END'
package module

import "testing"

func TestAdd(t *testing.T) {
	if Add(2, 3) != 5 {
		t.Fatal("2 + 3 is not 5")
	}
}
END
mkdir serve
cat >serve/main.go <<'END'
package main

import (
	"encoding/json"
	"net/http"
	"runtime"

	"example.com/module"
)

func main() {
	http.ListenAndServe(":8000", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{"sum": module.Add(2, 3), "version": runtime.Version()})
	}))
}
END
`

// TestRecipeGo builds the template of Go without a proxy, over a base that has other programs of the same names, and uses it as people do.
func TestRecipeGo(t *testing.T) {
	srv, api, end := recipeServer(t, "go", "gofmt")
	toolchains, err := goToolchains("")
	if err != nil || len(toolchains) != 1 {
		t.Fatalf("toolchains.txt has %v, %v", toolchains, err)
	}
	name := toolchains[0].name
	version := strings.TrimPrefix(name, "v0.0.1-")
	version, _, _ = strings.Cut(version, ".linux-")

	begin := time.Now()
	srv.must(t, "template", "build", recipe(t, "go", "toolchains", paths(toolchains)), "--name", "go", "--memory", "1024", "--from-template", "other")
	t.Logf("the template was built in %.0f s", time.Since(begin).Seconds())
	begin = time.Now()
	sb, err := api.Create(t.Context(), "go", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("create: %d ms", time.Since(begin).Milliseconds())
	// With -v, the go command prints the packages that it compiles: none may be of the standard library.
	expect(t, api, sb, []expectation{
		{"the first run", hello + "go run -v hello.go 2>&1", "command-line-arguments\nhello"},
		{"the second run", "go run -v hello.go 2>&1", "hello"},
		{"the version", "go env GOVERSION GOROOT", version + "\n/opt/go"},
		{"the search path", "command -v go gofmt", "/opt/go/bin/go\n/opt/go/bin/gofmt"},
		{"a shell without a login", "env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=$HOME bash -c 'go env GOVERSION'", version},
		{"root by sudo", "sudo go env GOVERSION", version},
		{"a build", module + "go build -v ./... 2>&1", "example.com/module\nexample.com/module/serve"},
		{"tests", "cd module && go test -v -count=1 . | grep -c '^--- PASS: TestAdd'", "1"},
		// With -x, it prints its commands; those for the standard library have the flag -std.
		{"tests compile their package alone", "cd module && echo '// More.' >>add.go && go test -x . 2>&1 | grep -c -e ' -std ' || true", "0"},
		{"a build without the warm-up", "GOCACHE=/tmp/empty go build -x hello.go 2>&1 | grep -c -e ' -std ' | sed 's/^[1-9][0-9]*$/more/'", "more"},
		{"vet", "cd module && go vet ./...", ""},
		{"a program that was installed", "cd module && go install ./serve && command -v serve", "/home/user/go/bin/serve"},
		// The go command deletes what is older than five days.
		{"the age of the cache", "find ~/.cache/go-build -name '*-a' -newermt 2090-01-01 | wc -l | sed 's/[0-9]\\{3,\\}/hundreds/'", "hundreds"},
		{"a server", "nohup serve >/dev/null 2>&1 &", ""},
	})
	awaitPort(t, sb, 8000, `{"sum":5,"version":"`+version+`"}`+"\n")
	killWritten(t, api, sb)

	srv.refuses(t, name+" is not in the directory toolchains", recipe(t, "go", "toolchains", nil))
	srv.refuses(t, name+" is not what toolchains.txt expects", recipe(t, "go", "toolchains", []string{anotherZip(t, name)}))

	// From a proxy, and over the base as it is; without the second warm-up, which takes most of the time.
	online := filepath.Join(recipesDir, "go")
	srv.refuses(t, "did not give "+name, online, "--build-arg", "GOPROXY="+registryURL+"/nothing,direct")
	text, err := os.ReadFile(filepath.Join(online, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	short, warmUp, found := strings.Cut(string(text), "USER user")
	if !found || !strings.Contains(warmUp, "warm-up/run.sh") {
		t.Fatalf("the Dockerfile has another form: %s", text)
	}
	file := filepath.Join(t.TempDir(), "Dockerfile")
	if err := os.WriteFile(file, []byte(short), 0o644); err != nil {
		t.Fatal(err)
	}
	srv.must(t, "template", "build", online, "--file", file, "--name", "go", "--build-arg", "GOPROXY="+registryURL+",direct")
	if sb, err = api.Create(t.Context(), "go", time.Hour); err != nil {
		t.Fatal(err)
	}
	expect(t, api, sb, []expectation{{"the version from a proxy", "go env GOVERSION GOPROXY", version + "\n" + registryURL + ",direct"}})
	killWritten(t, api, sb)
	srv.must(t, "template", "rm", "go")
	srv.must(t, "template", "rm", "other")
	end()
}

// anotherZip is a zip with other files than the toolchain's.
func anotherZip(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	w, err := z.Create("golang.org/toolchain@" + strings.TrimSuffix(name, ".zip") + "/bin/go")
	if err == nil {
		_, err = w.Write([]byte("#!/bin/sh\n"))
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}
