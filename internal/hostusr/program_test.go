package hostusr

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAProgramIsThereOnlyIfItEndsInUsr(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"usr/bin/git.real", "usr/bin/both", "usr/local/bin/both", "opt/node"} {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "alternatives"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"usr/bin/git": "../../alternatives/git", "alternatives/git": "../usr/bin/git.real",
		"usr/bin/node": "../../opt/node", "usr/bin/gone": "nowhere",
	} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"git": "/usr/bin/git", "both": "/usr/local/bin/both", "node": "", "gone": "", "missing": "",
	} {
		if got := Program(root, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := Program(filepath.Join(root, "elsewhere"), "git"); got != "" {
		t.Errorf("without /usr: %q", got)
	}
}
