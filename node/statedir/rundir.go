package statedir

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/vm"
)

// runDirFile names the run directory of the daemon that served a state directory
// last.
func runDirFile(dirs layout.Layout) string { return filepath.Join(dirs.StateDir, "run-dir") }

// CheckRunDir fails if the sandboxes that an earlier daemon left running
// are in another run directory than this one's: a start would take all of them
// for lost, and write so, while they run. Else it notes the one that is used.
func CheckRunDir(dirs layout.Layout) error {
	was, err := os.ReadFile(runDirFile(dirs))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	former := dirs
	former.RunDir = string(bytes.TrimSpace(was))
	if former.RunDir == dirs.RunDir {
		return nil
	}
	if n := machinesIn(former); former.RunDir != "" && n > 0 {
		return &vm.Error{Op: "open the run directory",
			Err:  fmt.Errorf("%d machines of %s run in %s, which is not %s; nothing was changed", n, dirs.StateDir, former.RunDir, dirs.RunDir),
			Hint: "use that one: --run-dir " + former.RunDir + "; Ctrl-C ends the sandboxes there"}
	}
	// On a full disk a start has more to say than that.
	tmp := runDirFile(dirs) + ".tmp"
	if os.WriteFile(tmp, []byte(dirs.RunDir+"\n"), 0o600) == nil {
		_ = os.Rename(tmp, runDirFile(dirs))
	}
	return nil
}

// machinesIn counts the records of machines that were made since the host was
// booted.
func machinesIn(dirs layout.Layout) (n int) {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // Without it, all count.
	records, _ := filepath.Glob(filepath.Join(dirs.InstanceDir(dirs.Instance()), "vm", "machines", "*.json"))
	for _, record := range records {
		data, err := os.ReadFile(record)
		if err != nil || bytes.Contains(data, bytes.TrimSpace(boot)) {
			n++
		}
	}
	return n
}
