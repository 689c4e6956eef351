// Command build compiles the programs that the host's binary carries, for the
// architectures it runs on, and leaves them, compressed, where the packages that embed
// them take them from. Run it from the root of the module:
//
//	go run ./internal/embedded/build [arch ...]
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/google/renameio/v2"

	"github.com/rundlet/rundlet/internal/embedded"
)

// program is the name of a command in cmd, and dir where its package embeds it from.
type program struct{ name, dir string }

var programs = []program{
	{"rundlet-agent", "agent/embedded/bin"},
	{"rundlet-sandbox", "vm/gvisor/engine/bin"},
	{"rundlet-init", "vm/microvm/program/bin"},
}

func main() {
	archs := os.Args[1:]
	if len(archs) == 0 {
		archs = []string{targetArch()}
	}
	for _, arch := range archs {
		for _, p := range programs {
			if err := p.build(arch); err != nil {
				fmt.Fprintf(os.Stderr, "build %s: %v\n", p.name, err)
				os.Exit(1)
			}
		}
	}
}

// targetArch is the architecture of the binary that will embed the programs.
func targetArch() string {
	if arch := os.Getenv("RUNDLET_ARCH"); arch != "" {
		return arch
	}
	return runtime.GOARCH
}

func (p program) build(arch string) error {
	if _, err := os.Stat(p.dir); err != nil {
		return fmt.Errorf("run from the root of the module: %w", err)
	}
	tmp, err := os.MkdirTemp("", "rundlet-build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	bin := filepath.Join(tmp, p.name)
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", bin, "./cmd/"+p.name) //nolint:noctx // It ends with this process.
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build for linux/%s: %w", arch, err)
	}
	return compress(bin, filepath.Join(p.dir, embedded.File(p.name, arch)))
}

// compress writes to a file beside its place first: a build that is
// interrupted must not leave half a program to be embedded.
func compress(src, dst string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := renameio.NewPendingFile(dst, renameio.WithTempDir(filepath.Dir(dst)), renameio.WithStaticPermissions(0o644))
	if err != nil {
		return err
	}
	defer func() { _ = out.Cleanup() }()
	if err := embedded.Pack(out, in); err != nil {
		return err
	}
	return out.CloseAtomicallyReplace()
}
