package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// suite is one pinned SDK and the cases that drive it.
type suite struct {
	kind    string // "npm" or "pypi"
	version string
}

// The pinned SDKs: the newest of each registry, and older ones that call the
// first generation of the API.
var suites = []suite{
	{"npm", "2.51.0"},
	{"npm", "2.49.1"},
	{"npm", "2.45.0"},
	{"pypi", "2.63.0"},
	{"pypi", "2.45.0"},
}

func (s suite) name() string { return s.kind + "-" + s.version }

// dir holds the lock file, and what was installed from it.
func (s suite) dir() string { return filepath.Join(s.kind, s.version) }

// checkTools names what is missing before an installer stumbles over it.
func checkTools() error {
	for _, tool := range []string{"node", "npm", "python3"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w: install Node 20 or newer with npm, and Python 3.11 or newer with venv", err)
		}
	}
	for _, check := range [][]string{
		{"node", "-e", "const [a, b] = process.versions.node.split('.'); if (a < 20 || (a == 20 && b < 18)) throw Error('the SDKs need Node 20.18 or newer, this is ' + process.version)"},
		{"python3", "-c", "import sys, venv, ensurepip; assert sys.version_info >= (3, 11), 'the SDKs need Python 3.11 or newer, this is ' + sys.version"},
	} {
		if out, err := exec.Command(check[0], check[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s is not fit: %w\n%s", check[0], err, out)
		}
	}
	return nil
}

// install brings dir in line with its lock file. It touches the network only if
// the lock file changed since the last time.
func (s suite) install() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	lock, marker, steps := "package-lock.json", "node_modules/.installed", [][]string{
		{"npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"},
	}
	if s.kind == "pypi" {
		lock, marker, steps = "requirements.txt", ".venv/.installed", [][]string{
			{"python3", "-m", "venv", "--clear", ".venv"},
			{".venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"},
		}
	}
	want, err := os.ReadFile(filepath.Join(s.dir(), lock))
	if err != nil {
		return err
	}
	marker = filepath.Join(s.dir(), marker)
	have, err := os.ReadFile(marker)
	if err == nil && bytes.Equal(have, want) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, step := range steps {
		cmd := exec.CommandContext(ctx, step[0], step[1:]...)
		cmd.Dir = s.dir()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(step, " "), err, out)
		}
	}
	return os.WriteFile(marker, want, 0o644)
}
