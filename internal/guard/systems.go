package guard

import (
	"go/build/constraint"
	"path"
	"strings"
)

// Systems checks that tests of packages that are for Linux alone are, too: the linters of a Mac find it, minutes later.
func Systems(sources []Source) (out []Finding) {
	elsewhere := map[string]bool{} // The packages that a Mac compiles a part of.
	for _, s := range sources {
		if !s.Test() && s.onMac() {
			elsewhere[s.Dir()] = true
		}
	}
	packages := map[string]bool{}
	for _, s := range sources {
		if !s.Test() {
			packages[s.Dir()] = true
		}
	}
	for _, s := range sources {
		if s.Test() && packages[s.Dir()] && !elsewhere[s.Dir()] && s.onMac() {
			out = append(out, findingf(s.Path, "is compiled on a Mac, and its package is not: begin it with \"//go:build linux\""))
		}
	}
	return out
}

// onMac reports whether a Mac compiles the file.
func (s Source) onMac() bool {
	name := strings.TrimSuffix(strings.TrimSuffix(path.Base(s.Path), ".go"), "_test")
	if strings.HasSuffix(name, "_linux") || strings.HasSuffix(name, "_amd64") {
		return false
	}
	for _, group := range s.File.Comments {
		for _, c := range group.List {
			if c.Pos() > s.File.Package || !constraint.IsGoBuild(c.Text) {
				continue
			}
			expr, err := constraint.Parse(c.Text)
			if err == nil && !expr.Eval(func(tag string) bool { return tag == "darwin" || tag == "arm64" || tag == "unix" }) {
				return false
			}
		}
	}
	return true
}
