package guard

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRepository applies every rule to this repository.
func TestRepository(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatalf("the root of the repository moved: %v", err)
	}
	var sources []Source
	var findings []Finding
	err = Files(root, func(name string, content []byte) error {
		findings = append(findings, Private(name, content)...)
		findings = append(findings, Prose(name, content)...)
		if !strings.HasSuffix(name, ".go") || strings.Contains(name, "testdata/") {
			return nil
		}
		s, err := Parse(name, content)
		if err != nil {
			return err
		}
		sources = append(sources, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(sources) < 10 {
		t.Fatalf("found %d Go files only", len(sources))
	}
	for _, rule := range []func([]Source) []Finding{Layers, Spelled, Bans, thirdPartyPure, Comments, Lengths, Sizes, Tested, Fuzzed, LogKeys, DriverNames, Systems, unusedExceptions(knowDrivers)} {
		findings = append(findings, rule(sources)...)
	}
	for _, doc := range []string{"docs/fork-safety.md", "docs/limits.md", "docs/reliability.md", "docs/security.md", parityDoc} {
		text, err := os.ReadFile(filepath.Join(root, doc))
		if err != nil {
			t.Fatal(err)
		}
		findings = append(findings, Named(doc, text, sources, os.DirFS(root))...)
		if doc == parityDoc {
			findings = append(findings, Rows(doc, text, parityRows())...)
		}
	}
	for _, f := range findings {
		t.Error(f)
	}
}

// TestRulesCanFail gives every rule one file, or two, that break it, and the
// nearest that do not.
func TestRulesCanFail(t *testing.T) {
	imp := func(pkg, path string) string { return "package " + pkg + "\nimport _ \"" + path + "\"\n" }
	ours := func(pkg, path string) string { return imp(pkg, Module+"/"+path) }
	const wire = "package envd\nconst Port, TokenHeader = 48879, \"X-Token\"\nconst HealthPath = \"/health\""
	type files map[string]string
	for name, c := range map[string]struct {
		rule      func([]Source) []Finding
		bad, good files
	}{
		"up":                     {Layers, files{"vm/a.go": ours("vm", "runtime")}, files{"runtime/a.go": ours("runtime", "vm")}},
		"e2b knows a driver":     {Layers, files{"e2b/a.go": ours("e2b", "vm/gvisor")}, files{"e2b/a.go": ours("e2b", "sandbox")}},
		"e2b knows vm":           {Layers, files{"e2b/x/a.go": ours("x", "vm")}, files{"e2b/x/a.go": ours("x", "e2b/y")}},
		"sideways":               {Layers, files{"store/a.go": ours("store", "network")}, files{"store/a.go": ours("store", "vm")}},
		"store knows a driver":   {Layers, files{"store/a.go": ours("store", "vm/gvisor")}, files{"vm/drivers/a.go": ours("drivers", "vm/gvisor")}},
		"runtime knows a driver": {Layers, files{"runtime/a.go": ours("runtime", "vm/gvisor")}, files{"vm/drivers/a.go": ours("drivers", "vm/gvisor")}},
		"driver knows driver":    {Layers, files{"vm/gvisor/a.go": ours("gvisor", "vm/memvm")}, files{"vm/gvisor/a.go": ours("gvisor", "vm/gvisor/oci")}},
		"host's part of a guest": {Layers, files{"vm/qemu/a.go": ours("qemu", "vm/microvm/guest")}, files{"vm/qemu/a.go": ours("qemu", "vm/microvm/link")}},
		"guest knows the host":   {Layers, files{"vm/microvm/guest/a.go": ours("guest", "vm")}, files{"vm/microvm/guest/a.go": ours("guest", "vm/microvm/link")}},
		"gvisor and microvm":     {Layers, files{"vm/gvisor/a.go": ours("gvisor", "vm/microvm/tap")}, files{"vm/qemu/a.go": ours("qemu", "vm/microvm/tap")}},
		"policy looks up":        {Layers, files{"policy/a/a.go": ours("a", "store")}, files{"policy/a/a.go": ours("a", "policy/b")}},
		"agent knows the host":   {Layers, files{"agent/a.go": ours("agent", "vm")}, files{"agent/a.go": ours("agent", "api/gen/x")}},
		"vm and a module":        {Layers, files{"vm/a.go": imp("vm", "golang.org/x/sys/unix")}, files{"vm/a.go": imp("vm", "net")}},
		"node above commands":    {Layers, files{"node/a.go": ours("node", "cmd/x")}, files{"node/a.go": ours("node", "e2b")}},
		"keys know a sandbox":    {Layers, files{"node/keys/a.go": ours("keys", "runtime")}, files{"node/daemon/a.go": ours("daemon", "runtime")}},
		"host knows the agent":   {Layers, files{"cmd/rundlet/a.go": ours("main", "agent/files")}, files{"cmd/rundlet/a.go": ours("main", "agent/embedded"), "cmd/rundlet-agent/a.go": ours("main", "agent")}},
		"client and agent":       {Layers, files{"client/a.go": ours("client", "agent/embedded")}, files{"client/a.go": ours("client", "envd")}},
		"envd knows the host":    {Layers, files{"envd/a.go": ours("envd", "vm")}, files{"agent/a.go": ours("agent", "envd/signature")}},
		"envd and a module":      {Layers, files{"envd/a.go": imp("envd", "connectrpc.com/connect")}, files{"envd/a.go": imp("envd", "net/http")}},
		"no layer":               {Layers, files{"misc/a.go": "package misc"}, files{"cmd/misc/a.go": "package main"}},
		"similar name":           {Layers, files{"agent/a.go": ours("agent", "apitest")}, files{"agent/a_test.go": ours("agent", "vm")}},

		"names a driver":      {DriverNames, files{"vm/foo/a.go": "package foo", "node/a.go": "package node\nvar d = \"use Foo\""}, files{"vm/foo/a.go": "package foo\nvar foo = 1", "node/a_test.go": "package node\nvar foo = 1"}},
		"driver in a name":    {DriverNames, files{"vm/foo/a.go": "package foo", "e2b/a.go": "package e2b\nfunc newFooServer() {}"}, files{"vm/foo/a.go": "package foo", "e2b/a.go": "package e2b\n\n// As foo does.\nfunc f() {}"}},
		"imports a driver":    {DriverNames, files{"vm/foo/a.go": "package foo", "cmd/a.go": ours("main", "vm/foo/b")}, files{"vm/foo/a.go": "package foo", "vm/drivers/a.go": ours("drivers", "vm/foo")}},
		"contract and driver": {DriverNames, files{"vm/foo/a.go": "package foo", "vm/vmtest/a.go": "package vmtest\nvar foo = 1"}, files{"vm/vmtest/a.go": "package vmtest", "node/a.go": "package node\nvar drivers = \"memvm, vmtest\""}},
		"stale exception":     {unusedExceptions(driverExceptions{"cmd": "x"}), files{"vm/foo/a.go": "package foo"}, files{"vm/foo/a.go": "package foo", "cmd/a.go": "package main\nvar foo = 1"}},

		"port":         {Spelled, files{"envd/a.go": wire, "e2b/a.go": "package e2b\nvar x = 0xbeef"}, files{"envd/a.go": wire, "envd/b/a.go": "package b\nvar x = 48879", "e2b/a.go": "package e2b\nvar x, y = 48878, 1.5"}},
		"port in text": {Spelled, files{"envd/a.go": wire, "e2b/a.go": "package e2b\nfunc f() { g(`:48879`) }"}, files{"envd/a.go": wire, "e2b/a_test.go": "package e2b\nvar x = 48879"}},
		"header":       {Spelled, files{"envd/a.go": wire, "agent/a/a.go": "package a\nvar x = \"x-TOKEN: \""}, files{"envd/a.go": wire, "agent/a/a.go": "package a\nvar x, y = \"X-Other\", \"/health\" // X-Token"}},

		"ioutil":         {Bans, files{"vm/a_test.go": imp("vm", "io/ioutil")}, files{"vm/a_test.go": imp("vm", "io")}},
		"old rand":       {Bans, files{"vm/a.go": imp("vm", "math/rand")}, files{"vm/a.go": imp("vm", "math/rand/v2")}},
		"log":            {Bans, files{"e2b/a.go": "package e2b\nimport \"log\"\nfunc f() { log.Printf(\"x\") }"}, files{"e2b/a.go": "package e2b\nimport \"log\"\nvar l = log.New(nil, \"\", 0)"}},
		"cgo":            {Bans, files{"agent/a.go": imp("agent", "C")}, files{"agent/a.go": imp("agent", "os")}},
		"exec":           {Bans, files{"network/a.go": imp("network", "os/exec")}, files{"agent/a.go": imp("agent", "os/exec"), "network/a_test.go": imp("network", "os/exec")}},
		"unsafe":         {Bans, files{"e2b/a.go": imp("e2b", "unsafe")}, files{"network/a.go": imp("network", "unsafe")}},
		"testing":        {Bans, files{"vm/a.go": imp("vm", "testing")}, files{"vm/vmtest/a.go": imp("vmtest", "testing"), "vm/a_test.go": imp("vm", "testing")}},
		"sleep":          {Bans, files{"vm/a.go": "package vm\nimport \"time\"\nfunc f() { time.Sleep(1) }"}, files{"vm/a.go": "package vm\nimport \"time\"\nvar _ = time.Second"}},
		"sleep, renamed": {Bans, files{"vm/a_test.go": "package vm\nimport clock \"time\"\nfunc f() { clock.Sleep(1) }"}, files{"vm/a_test.go": "package vm\nimport (\"time\"; _ \"testing/synctest\")\nfunc f() { time.Sleep(1) }"}},
		"policy I/O":     {Bans, files{"policy/a/a.go": imp("a", "os")}, files{"store/a.go": imp("store", "os")}},
		"policy clock":   {Bans, files{"policy/a/a.go": "package a\nimport \"time\"\nvar x = time.Now()"}, files{"runtime/a.go": "package runtime\nimport \"time\"\nvar x = time.Now()"}},
		"policy module":  {thirdPartyPure, files{"policy/a/a.go": imp("a", "golang.org/x/sync/errgroup")}, files{"policy/a/a.go": ours("a", "vm")}},

		"log key":      {LogKeys, files{"vm/a.go": "package vm\nfunc f() { log.Info(`x`, `next try`, 1) }"}, files{"vm/a.go": "package vm\nfunc f() { log.Info(`x y`, `retry_in`, 1) }"}},
		"log spelling": {LogKeys, files{"vm/a.go": "package vm\nfunc f() { c.cfg.Log.Warn(`x`, `sandbox_id`, 1, `err`, 2) }"}, files{"vm/a.go": "package vm\nfunc f() { fmt.Error(`x`, `err`, 2); r.log.Warn(`x`, slog.Int(`n`, 1)) }"}},

		"no comment":     {Comments, files{"vm/a.go": "package vm"}, files{"vm/a.go": "// Package vm is it.\npackage vm", "vm/b.go": "package vm"}},
		"two comments":   {Comments, files{"vm/a.go": "// Package vm is it.\npackage vm", "vm/b.go": "// Package vm is it too.\npackage vm"}, files{"vm/a.go": "// Package vm is it.\npackage vm", "vm/b.go": "//go:build linux\n\npackage vm"}},
		"other comment":  {Comments, files{"vm/a.go": "// Copyright.\npackage vm"}, files{"api/gen/a.go": "package gen"}},
		"large package":  {Sizes, files{"vm/a.go": "package vm\n" + strings.Repeat("var _ = 1\n", 1200)}, files{"vm/a.go": "package vm\n// c\n\n" + strings.Repeat("var _ = 1\n", 1199)}},
		"large type":     {Sizes, files{"vm/a.go": "package vm\ntype T int\n" + methodsOf(41)}, files{"vm/a.go": "package vm\ntype T int\n" + methodsOf(40)}},
		"embedded":       {Sizes, files{"vm/a.go": "package vm\ntype T int\ntype U struct{ *T }\nfunc (U) N() {}\n" + methodsOf(40)}, files{"vm/a.go": "package vm\ntype T int\ntype U struct{ t T }\nfunc (U) N() {}\n" + methodsOf(40)}},
		"once larger":    {Sizes, files{"agent/process/a.go": "package process"}, files{"vm/a.go": "package vm"}},
		"raw string":     {Sizes, files{"vm/a.go": "package vm\nvar _ = `" + strings.Repeat("\n", 1200) + "`"}, files{"vm/a.go": "package vm\n/*" + strings.Repeat("\n", 1200) + "*/"}},
		"long file":      {Lengths, files{"vm/a.go": "package vm" + strings.Repeat("\n", 351)}, files{"vm/a.go": "package vm" + strings.Repeat("\n", 350), "vm/g.go": "// Code generated by x. DO NOT EDIT.\npackage vm" + strings.Repeat("\n", 500)}},
		"no test":        {Tested, files{"image/a.go": "package image"}, files{"image/a.go": "package image", "image/a_test.go": "package image"}},
		"a Mac's test":   {Systems, files{"vm/a.go": "//go:build linux\n\npackage vm", "vm/a_test.go": "package vm"}, files{"vm/a_linux.go": "package vm", "vm/a_test.go": "//go:build linux\n\npackage vm", "host/a.go": "package host", "host/a_linux.go": "package host", "host/a_test.go": "package host"}},
		"no fuzz target": {Fuzzed, files{"agent/a/a_test.go": "package a\nfunc TestX(){}"}, files{"agent/a/a_test.go": "package a\nfunc TestX(){}", "agent/b/b_test.go": "package b\nfunc FuzzX(){}"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.rule(parse(t, c.bad)); len(got) != 1 || got[0].Why == "" {
				t.Errorf("bad: got %v, want one finding", got)
			}
			if got := c.rule(parse(t, c.good)); len(got) != 0 {
				t.Errorf("good: got %v", got)
			}
		})
	}
}

func parse(t *testing.T, files map[string]string) []Source {
	t.Helper()
	var out []Source
	for name, content := range files {
		s, err := Parse(name, []byte(content))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func TestProse(t *testing.T) {
	for line, want := range map[string]bool{
		"the time" + "-out of a sandbox": true, "TIME" + "-OUT": true, "the timeout": false, "in time" + "outs": false,
		"x is no " + "daemon": true, "there is no daemon": false, "it was dealt " + "with": true,
		"which is no " + "limit": true, "it is no " + "error": true, "there are no " + "files": false, "it is no " + "mistake": true, "it is no " + "longer": false, "no" + "body asks": true, "it holds no" + "body.": true, `user "nobody"`: false,
		"the client is to" + "ld": true, "it te" + "lls whether": true, "who" + "ever asks": true, "a user who asks": false, "it carries " + "out the plan": true,
		"a process of its " + "own": true, "groups of their " + "own": true, "its own process": false, "it ends by it" + "self": true, "they end by them" + "selves": true,
		"the process itself": false, "Store is wh" + "at a Saver needs of the store": true, "Config is wh" + "at a Saver is made of": true, "it is made of glass": false, "it waits in " + "vain": true, "a vain wait": false,
	} {
		if got := Prose("a.go", []byte("first\n"+line)); (len(got) == 1) != want || want && got[0].Where != "a.go:2" {
			t.Errorf("%q: %v", line, got)
		}
	}
	if got := Prose("a.lock", []byte("time"+"-out")); got != nil {
		t.Errorf("a file that people do not read: %v", got)
	}
}

func TestPrivate(t *testing.T) {
	for line, want := range map[string]bool{
		"cd /wo" + "rk/main":                      true,
		"\"/ro" + "ot/go/pkg\"":                   true,
		"src/wo" + "rk/x":                         false,
		"HOME=/root":                              false,
		"https://py" + "pi.org/x":                 true,
		`"resolved": "ht` + `tps://mirror/x.tgz"`: true,
		"binary\x00/wo" + "rk/main":               false,
	} {
		if got := Private("f", []byte("first\n"+line)); (len(got) == 1) != want || want && !strings.HasPrefix(got[0].Where, "f:2") {
			t.Errorf("%q: got %v, want %v", line, got, want)
		}
	}
}

func TestPrivateExceptBundles(t *testing.T) {
	host, dir := []byte("https://py"+"pi.org/x"), []byte("cd /wo"+"rk/main")
	for name, want := range map[string]int{"policy/egress/bundle/a.go": 1, "policy/egress/bundle/a/b.go": 2, "policy/egress/a.go": 2, "templates/go/a.sh": 1, "templates/a.sh": 2} {
		if got := append(Private(name, host), Private(name, dir)...); len(got) != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestFilesSkipsWhatIsNotOurs(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"a/b.go", "node_modules/c.go", "x/.venv/d.go", ".git/e.go", "bin/f"} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	if err := Files(root, func(name string, _ []byte) error { got = append(got, name); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0] != "a/b.go" {
		t.Errorf("got %v", got)
	}
}

// methodsOf returns n methods of a type T.
func methodsOf(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "func (*T) M%d() {}\n", i)
	}
	return b.String()
}
