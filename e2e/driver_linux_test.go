package e2e

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// chosenDriver is what make microvm asks for.
var chosenDriver = flag.String("driver", "", "run the servers of all tests with this driver; one that boots a kernel needs "+kernelEnv)

// kernelEnv is the directory of a kernel package that was extracted.
const kernelEnv = "E2E_KERNEL"

// driverFlags are the flags of a server with the chosen driver, whose kernel is installed.
func driverFlags(t *testing.T, dir string) []string {
	t.Helper()
	if *chosenDriver == "" {
		return nil
	}
	if kernel := os.Getenv(kernelEnv); kernel != "" {
		install := exec.CommandContext(t.Context(), os.Getenv(binEnv), "kernel", "install", kernel)
		install.Env = append(os.Environ(), "RUNDLET_STATE_DIR="+filepath.Join(dir, "state"), "RUNDLET_CACHE_DIR="+filepath.Join(dir, "cache"))
		if out, err := install.CombinedOutput(); err != nil {
			t.Fatalf("rundlet kernel install: %v\n%s", err, out)
		}
	}
	return []string{"--driver", *chosenDriver}
}
