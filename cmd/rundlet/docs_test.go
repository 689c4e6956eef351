package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/layout"
)

// documents returns what is written for people, by name.
func documents(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"../../README.md", "../../docs/*.md", "../../docs/decisions/*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v, %v", pattern, names, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			out[name] = string(text)
		}
	}
	return out
}

// every calls f for a command and all below it.
func every(cmd *cobra.Command, f func(*cobra.Command)) {
	f(cmd)
	for _, c := range cmd.Commands() {
		every(c, f)
	}
}

// scriptOptions returns the options that the scripts of the build show in their
// usage lines.
func scriptOptions(t *testing.T) (out []string) {
	t.Helper()
	usage := regexp.MustCompile(`(?m)^#\tscripts/.*$`)
	names, err := filepath.Glob("../../scripts/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // a directory
		}
		for _, line := range usage.FindAllString(string(text), -1) {
			for _, m := range regexp.MustCompile(`--([a-z-]+)`).FindAllStringSubmatch(line, -1) {
				out = append(out, m[1])
			}
		}
	}
	return out
}

func TestWhatTheDocumentsSayOfTheCommandLineIsSo(t *testing.T) {
	flags := map[string]*pflag.Flag{}
	every(newRoot(), func(c *cobra.Command) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) { flags[f.Name] = f })
	})
	for _, option := range scriptOptions(t) {
		flags[option] = &pflag.Flag{Name: option}
	}
	flag := regexp.MustCompile("(?:^|[\\s`(])--([a-z][a-z-]*)(?:[^`\n]{0,20}` \\(default `?([^`)]+))?")
	command := regexp.MustCompile("(?m)(?:`|^ +|/)rundlet ([a-z]+(?:[ -][a-z]+)*)")
	named := 0
	for name, text := range documents(t) {
		for _, m := range flag.FindAllStringSubmatch(text, -1) {
			named++
			switch f := flags[m[1]]; {
			case f == nil:
				t.Errorf("%s: there is no flag --%s", name, m[1])
			case m[2] != "" && m[2] != f.DefValue && !strings.Contains(f.Usage, "default "+m[2]):
				t.Errorf("%s: the default of --%s is %q, not %q", name, m[1], f.DefValue, m[2])
			}
		}
		for _, m := range command.FindAllStringSubmatch(text, -1) {
			named++
			cmd := newRoot()
			for _, word := range strings.Fields(m[1]) {
				if !cmd.HasSubCommands() {
					break // what follows are arguments
				}
				next, _, err := cmd.Find([]string{word})
				if err != nil || next == cmd {
					t.Errorf("%s: there is no command rundlet %s", name, m[1])
					break
				}
				cmd = next
			}
		}
	}
	if named < 30 {
		t.Errorf("found %d flags and commands only", named)
	}
}

// Commands that an ordinary user has in the namespaces of their node have names that exist; and what works on the files of a node
// or starts sandboxes without a server is among them.
func TestCommandsOfANodeAreKnown(t *testing.T) {
	paths := map[string]bool{}
	every(newRoot(), func(c *cobra.Command) { paths[c.CommandPath()] = c.Runnable() })
	for _, path := range command.OnNode {
		if !paths[path] {
			t.Errorf("there is no command %s", path)
		}
	}
	for path := range paths {
		for _, group := range []string{"rundlet image ", "rundlet orphan "} {
			if strings.HasPrefix(path, group) && !slices.Contains(command.OnNode, path) {
				t.Errorf("%s is not done in the namespaces of the node", path)
			}
		}
	}
}

func TestDefaultsAreWrittenOnce(t *testing.T) {
	every(newRoot(), func(c *cobra.Command) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			// The help of a flag that has a value ends with it.
			if strings.Contains(f.Usage, "(default") && f.DefValue != "" && f.DefValue != "[]" {
				t.Errorf("%s --%s names two defaults: %s, and %s", c.CommandPath(), f.Name, f.Usage, f.DefValue)
			}
		})
	})
}

func TestTheDefaultDirectoriesAreThoseOfTheDocuments(t *testing.T) {
	l, err := layout.Resolve(layout.Layout{}, func(name string) string { return map[string]string{"HOME": "/~"}[name] })
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{layout.EnvStateDir: l.StateDir, layout.EnvCacheDir: l.CacheDir, layout.EnvRunDir: l.RunDir}
	said := regexp.MustCompile("`?\\$?(RUNDLET_[A-Z_]+)`? (?:\\(default|or) `?([~/][^`) ]*)")
	texts := documents(t)
	newRoot().PersistentFlags().VisitAll(func(f *pflag.Flag) { texts["--"+f.Name] = f.Usage })
	found := 0
	for name, text := range texts {
		for _, m := range said.FindAllStringSubmatch(text, -1) {
			found++
			if got := strings.TrimPrefix(want[m[1]], "/~"); got == "" || strings.TrimPrefix(m[2], "~") != got {
				t.Errorf("%s: the default of %s is %s, not %s", name, m[1], want[m[1]], m[2])
			}
		}
	}
	if found < 5 {
		t.Errorf("found %d only", found)
	}
	if readme := texts["../../README.md"]; !strings.Contains(readme, "http://"+daemonListen) {
		t.Errorf("the README does not name %s", daemonListen)
	}
}
