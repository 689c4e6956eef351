//go:build linux

package firecracker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/vm"
)

// TestWhatIsInTheSearchPath has programs that only say their version.
func TestWhatIsInTheSearchPath(t *testing.T) {
	for name, c := range map[string]struct {
		firecracker, jailer, want string
	}{
		"one release":          {"Firecracker v1.12.1", "Jailer v1.12.1", ""},
		"more lines":           {"Firecracker v1.16.0\n\n2026 exiting", "Jailer v1.16.0", ""},
		"too old":              {"Firecracker v1.11.0", "Jailer v1.11.0", "1.12.0 or later"},
		"two releases":         {"Firecracker v1.13.0", "Jailer v1.12.1", "is version 1.13.0, and"},
		"no version":           {"hello", "Jailer v1.12.1", "is not a version"},
		"without a jailer":     {"Firecracker v1.12.1", "", "jailer"},
		"without the program ": {"", "Jailer v1.12.1", "firecracker"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for program, says := range map[string]string{"firecracker": c.firecracker, "jailer": c.jailer} {
				if says == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, program), fmt.Appendf(nil, "#!/bin/sh\necho %q\n", says), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", dir)
			programs, err := findPrograms()
			if c.want == "" {
				if err != nil || programs.Firecracker != filepath.Join(dir, "firecracker") || programs.Jailer != filepath.Join(dir, "jailer") {
					t.Errorf("%+v, %v", programs, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want an error with %q", err, c.want)
			}
		})
	}
}

// TestWhatAHostLacks says all of it at once, and starts nothing.
func TestWhatAHostLacks(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	kernels := t.TempDir()
	var all []string
	for _, p := range Check(vm.Options{Kernels: kernels}) {
		if !p.Fatal || p.Hint == "" {
			t.Errorf("%+v", p)
		}
		all = append(all, p.What)
	}
	text := strings.Join(all, "\n")
	for _, want := range []string{"no guest kernel is installed", "Firecracker is missing"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %q", want, text)
		}
	}
	if err := available(vm.Options{Kernels: kernels}); err == nil {
		t.Error("it is available")
	}
	if left, err := os.ReadDir(kernels); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	if d, err := New(vm.Options{StateDir: kernels, RunDir: kernels}); !errors.Is(err, vm.ErrUnsupported) || d != nil {
		t.Errorf("%v, %v", d, err)
	}
}
