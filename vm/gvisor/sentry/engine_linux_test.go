package sentry

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rundlet/rundlet/vm/gvisor/launch"
)

const enterEnv = "SENTRY_TEST_ENTER"

// TestAProcessEntersItsEngineOnce starts this test binary, which enters the engine that the
// environment names; that one does the same, and goes on. A loop would never end.
func TestAProcessEntersItsEngineOnce(t *testing.T) {
	if path := os.Getenv(enterEnv); path != "" {
		if err := enterEngine(path); err != nil {
			t.Fatal(err)
		}
		self, err := os.Readlink("/proc/self/exe")
		if err != nil || launch.EngineName(self) != filepath.Base(path) {
			t.Fatalf("it runs %s, %v", self, err)
		}
		return
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rundlet-sandbox-0123456789abcdef")
	if err := os.WriteFile(path, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), enterEnv+"="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if err := enterEngine(path + "0"); err == nil || enterEngine("") != nil {
		t.Errorf("an engine that is not there: %v", err)
	}
	if err := enterEngine(filepath.Join(t.TempDir(), filepath.Base(path))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an engine that is not there: %v", err)
	}
}
