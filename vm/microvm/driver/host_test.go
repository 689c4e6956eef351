//go:build linux

package driver

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rundlet/rundlet/vm"
)

func TestAHostWithoutAKernelAndAHypervisor(t *testing.T) {
	own := vm.Problem{Fatal: true, What: "the hypervisor is missing", Hint: "install it"}
	problems := Check(t.TempDir(), own)
	if len(problems) < 2 || problems[0].Hint != KernelHint || problems[1] != own {
		t.Errorf("%+v", problems)
	}
	for _, p := range problems {
		if !p.Fatal || p.What == "" || p.Hint == "" {
			t.Errorf("%+v", p)
		}
	}
}

func TestAProgramIsAskedForItsVersion(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	for text, want := range map[string]string{"#!/bin/sh\necho $1\n": "--version\n", "#!/bin/sh\nexit 1\n": ""} {
		if err := os.WriteFile(program, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		if got, err := AskVersion(program); got != want || (err == nil) != (want != "") {
			t.Errorf("%q, %v", got, err)
		}
	}
}
