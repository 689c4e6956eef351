package vmtest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/vm/vmtest"
)

// A rule that a document names is one that drivers pass.
func TestRulesThatTheDocumentsNameExist(t *testing.T) {
	rules := vmtest.Rules()
	groups := map[string]bool{}
	for _, rule := range rules {
		group, _, _ := strings.Cut(rule, "/")
		groups[group] = true
	}
	names, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(names) == 0 {
		t.Fatalf("%v, %v", names, err)
	}
	named := 0
	like := regexp.MustCompile("`([a-z-]+)(/[a-z0-9-]+)`")
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range like.FindAllStringSubmatch(string(text), -1) {
			if !groups[m[1]] {
				continue // It is a path.
			}
			if named++; !slices.Contains(rules, m[1]+m[2]) {
				t.Errorf("%s names the rule %s, and there is no such rule", name, m[1]+m[2])
			}
		}
	}
	if named < 20 {
		t.Errorf("found %d only", named)
	}
}
