package guard

import (
	"fmt"
	"go/ast"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// maxLines is the longest file that is read in one go.
const maxLines = 350

// withoutTests are the packages that need no test, and why.
var withoutTests = map[string]string{
	"api": "holds the OpenAPI document and what generates from it",

	"e2b/internal/fakeruntime": "is part of the tests of e2b",
	"network/socks/sockstest":  "is part of the tests of network/socks",
	"vm/microvm/drivertest":    "is part of the tests of drivers",
}

// fuzzed are the places that parse bytes from outside, and what those are. As
// soon as there is a test there must be a fuzz target.
var fuzzed = map[string]string{
	"agent":            "multipart names and paths",
	"envd":             "replies of the agent and signatures",
	"e2b":              "bodies of requests, host and header routing, signed URLs",
	"e2b/dataplane":    "signatures, headers and streams of responses",
	"host":             "figures of the kernel",
	"internal/console": "what guests print",
	"image/erofs":      "images of other hosts",
	"image/fold":       "layers of guests",
	"image/oci":        "manifests, layers and whiteouts",
	"network/names":    "queries of guests and replies of name servers",
	"telemetry":        "labels made of what guests say",

	"vm/gvisor/snapshots": "snapshot manifests",
	"vm/microvm/link":     "what guests answer",
	"vm/qemu/qmp":         "what the process of a guest answers",

	"e2b/internal/route": "host, path and header routing",
	"e2b/internal/wire":  "pagination tokens, metadata, names",

	"policy/freshness": "metadata of sandboxes",
	"policy/snapshot":  "manifests of artifacts",
}

// Comments checks that every package has exactly one package comment.
func Comments(sources []Source) []Finding {
	docs := map[string][]string{}
	for _, s := range sources {
		if s.Test() || s.Generated || within(s.Dir(), "api/gen") {
			continue
		}
		if docs[s.Dir()] == nil {
			docs[s.Dir()] = []string{}
		}
		if doc := s.File.Doc.Text(); doc != "" {
			docs[s.Dir()] = append(docs[s.Dir()], s.Path)
			name := s.File.Name.Name
			if name != "main" && !strings.HasPrefix(doc, "Package "+name+" ") {
				docs[s.Dir()] = append(docs[s.Dir()], "(not of the form \"Package "+name+" ...\")")
			}
		}
	}
	var out []Finding
	for _, dir := range slices.Sorted(maps.Keys(docs)) {
		if n := len(docs[dir]); n != 1 {
			out = append(out, findingf(dir, "has %d package comments, not one %v: a reader must find what it is for, in one place", n, docs[dir]))
		}
	}
	return out
}

// Lengths checks that no file is too long.
func Lengths(sources []Source) []Finding {
	var out []Finding
	for _, s := range sources {
		if !s.Generated && s.Lines > maxLines {
			out = append(out, findingf(s.Path, "has %d lines, more than %d: split it by purpose", s.Lines, maxLines))
		}
	}
	return out
}

// Tested checks that every package has a test.
func Tested(sources []Source) []Finding {
	tested, code := map[string]bool{}, map[string]bool{}
	for _, s := range sources {
		if s.Test() {
			tested[s.Dir()] = true
		} else if !s.Generated && s.File.Name.Name != "main" {
			code[s.Dir()] = true
		}
	}
	var out []Finding
	for _, dir := range slices.Sorted(maps.Keys(code)) {
		if !tested[dir] && withoutTests[dir] == "" {
			out = append(out, findingf(dir, "has no test: write one, or put the reason into withoutTests in internal/guard"))
		}
	}
	return out
}

// Fuzzed checks that what parses outside bytes has a fuzz target.
func Fuzzed(sources []Source) []Finding {
	has, tests := map[string]bool{}, map[string]bool{}
	for _, s := range sources {
		if !s.Test() {
			continue
		}
		for dir := range fuzzed {
			if !within(s.Dir(), dir) {
				continue
			}
			tests[dir] = true
			for _, d := range s.File.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Fuzz") {
					has[dir] = true
				}
			}
		}
	}
	var out []Finding
	for _, dir := range slices.Sorted(maps.Keys(fuzzed)) {
		if tests[dir] && !has[dir] {
			out = append(out, findingf(dir, "has no fuzz target for %s", fuzzed[dir]))
		}
	}
	return out
}

// private and registries are what must not be in a public repository: paths of somebody's
// machine, and addresses of package mirrors, which lock files pick up silently.
// They are in pieces so that this file passes.
var (
	private    = regexp.MustCompile(`(^|[^\w./~-])(` + `/wo` + `rk/|/ro` + `ot/(go|work|\.cache|\.npm|\.pyenv)\b|/ho` + `me/(runner|ubuntu)/)|"resol` + `ved": "http`)
	registries = regexp.MustCompile(`registry\.npm` + `js\.org|registry\.yarn` + `pkg\.com|python` + `hosted\.org|//py` + `pi\.org|proxy\.gol` + `ang\.org|deb\.deb` + `ian\.org|archive\.ubu` + `ntu\.com`)
)

// registryNames are the directories that need the public hosts of registries: the package that lists them, and the recipes whose
// files come from there.
var registryNames = []string{"policy/egress/bundle", "templates/node", "templates/go"}

// Private checks one file of any kind.
func Private(name string, content []byte) []Finding {
	if strings.ContainsRune(string(content[:min(len(content), 512)]), 0) {
		return nil // Not a text.
	}
	var out []Finding
	for i, line := range strings.Split(string(content), "\n") {
		m := private.FindString(line)
		if m == "" && !slices.Contains(registryNames, path.Dir(name)) {
			m = registries.FindString(line)
		}
		if m != "" {
			out = append(out, findingf(fmt.Sprintf("%s:%d", name, i+1), "has %q: true on one machine only", strings.TrimSpace(m)))
		}
	}
	return out
}
