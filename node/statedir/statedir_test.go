package statedir

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/layout"
)

func TestUserDataOutlivesASecondDaemon(t *testing.T) {
	l := dirs(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(l.StateDir, link); err != nil {
		t.Fatal(err)
	}
	other := layout.Layout{StateDir: l.StateDir, CacheDir: l.CacheDir, RunDir: t.TempDir()}
	linked := layout.Layout{StateDir: link, CacheDir: l.CacheDir, RunDir: t.TempDir()}
	unlock, err := Lock(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	for name, given := range map[string]layout.Layout{"another run directory": other, "a link to it": linked} {
		_, err := Lock(t.Context(), given)
		if err == nil || !strings.Contains(err.Error(), given.StateDir) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := LockDatabase(t.Context(), given); err == nil {
			t.Errorf("%s: the database of a living daemon can be replaced", name)
		}
	}
	share, err := Share(t.Context(), other)
	if err != nil {
		t.Errorf("\"rundlet run\" beside a daemon: %v", err)
	}
	unlock()
	if _, err := LockDatabase(t.Context(), l); err == nil || !strings.Contains(err.Error(), "rundlet run") {
		t.Errorf("the database under a \"rundlet run\": %v", err)
	}
	share()
	if unlock, err = LockDatabase(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if _, err := Share(t.Context(), l); err == nil {
		t.Error("\"rundlet run\" in the middle of a restore")
	}
	unlock()
	if unlock, err = Lock(t.Context(), linked); err != nil {
		t.Fatalf("when it is not locked: %v", err)
	}
	unlock()
}

// The number of a dead process is ignored.
func TestTheLockOfADeadDaemonIsTaken(t *testing.T) {
	l := dirs(t)
	if err := os.WriteFile(daemonLock(l), []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	unlock, err := Lock(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}
