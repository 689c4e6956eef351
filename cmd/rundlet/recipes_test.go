package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/client/dockerfile"
)

// The ready recipes are built at length by "make e2e" and "make recipes". This is what needs no build.
func TestTheReadyRecipesAreWhatTheirDocumentsSay(t *testing.T) {
	recipes, err := filepath.Glob("../../templates/*/Dockerfile")
	if err != nil || len(recipes) < 3 {
		t.Fatalf("found %v: %v", recipes, err)
	}
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	manual := read("../../docs/templates.md")
	build := regexp.MustCompile(`(?m)^    (rundlet template build templates/.*)$`)
	for _, path := range recipes {
		dir := filepath.Dir(path)
		name := filepath.Base(dir)
		t.Run(name, func(t *testing.T) {
			recipe, err := dockerfile.Read(read(path), dockerfile.Options{})
			if err != nil {
				t.Fatal(err)
			}
			found := build.FindStringSubmatch(read(filepath.Join(dir, "README.md")))
			if found == nil {
				t.Fatal("its README has no command that builds it")
			}
			command := found[1]
			wanted := []string{"templates/" + name + " ", "--name " + name + " "}
			if recipe.StartCmd != "" {
				wanted = append(wanted, "--ready ")
			}
			for _, want := range wanted {
				if !strings.Contains(command+" ", want) {
					t.Errorf("its README says %s", command)
				}
			}
			var words []string
			for _, word := range regexp.MustCompile(`"[^"]*"|\S+`).FindAllString(command, -1) {
				words = append(words, strings.Trim(word, `"`))
			}
			cmd, args, err := newRoot().Find(words[1:])
			if err == nil {
				err = cmd.ParseFlags(args)
			}
			if err != nil || cmd.Name() != "build" {
				t.Errorf("%s is not a command of ours: %v", command, err)
			}
			if !strings.Contains(manual, "    "+command+"\n") {
				t.Errorf("docs/templates.md does not say %s", command)
			}
		})
	}
}

func TestLinksOfTheRecipesLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#([^)]*))?\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	names, err := filepath.Glob("../../templates/*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range append(names, "../../docs/templates.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			found++
			path := filepath.Join(filepath.Dir(name), m[1])
			target, err := os.ReadFile(path)
			if m[2] == "" {
				_, err = os.Stat(path)
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			var anchors []string
			for _, h := range heading.FindAllStringSubmatch(string(target), -1) {
				anchors = append(anchors, strings.ReplaceAll(regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-"))
			}
			if m[2] != "" && !slices.Contains(anchors, m[2]) {
				t.Errorf("%s: %s has no heading #%s", name, m[1], m[2])
			}
		}
	}
	if found < 10 {
		t.Errorf("found %d links only", found)
	}
}
