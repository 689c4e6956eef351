package rootless

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A record leads to the process that it was written of and to no other, whatever number that has.
func TestARecordIsOfAProcessThatLives(t *testing.T) {
	dir := t.TempDir()
	self, err := processOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	save := func(p process) {
		t.Helper()
		if err := (&keeper{Keeper: p, path: keeperPath(dir)}).save(); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := loadKeeper(dir); ok {
		t.Error("there is one without a record")
	}
	save(self)
	if k, ok := loadKeeper(dir); !ok || k.Keeper != self {
		t.Errorf("got %+v, %v", k, ok)
	}
	for _, other := range []process{{self.PID, self.Started + "0"}, {0, ""}, {-1, self.Started}, {1 << 30, self.Started}} {
		save(other)
		if _, ok := loadKeeper(dir); ok {
			t.Errorf("%+v lives", other)
		}
	}
	for _, text := range []string{"", "{", "null", `{"keeper":7}`} {
		if err := os.WriteFile(keeperPath(dir), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, ok := loadKeeper(dir); ok {
			t.Errorf("%q is a record", text)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.new")); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}

func TestAZombieHasEnded(t *testing.T) {
	cmd := exec.Command("sleep", "infinity")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := processOf(cmd.Process.Pid)
	if err != nil || !p.lives() {
		t.Fatalf("%+v, %v", p, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for p.lives() { // Until the kernel has ended it: its parent has not waited yet.
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it ended well")
	}
}
