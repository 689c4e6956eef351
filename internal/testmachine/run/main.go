//go:build linux

// Command run boots a test machine (internal/testmachine), runs a command in it, prints what
// it prints and exits with its exit code. It may import internal/testmachine.
package main

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/rundlet/rundlet/internal/testmachine"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
)

// lists are flags that can be given several times.
type lists []string

func (l *lists) String() string { return strings.Join(*l, " ") }

func (l *lists) Set(value string) error {
	*l = append(*l, value)
	return nil
}

// failed is the exit code if the machine could not run the command.
const failed = 125

func main() {
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "test machine:", err)
		code = failed
	}
	os.Exit(code)
}

func run() (int, error) {
	var files, programs, modules, env lists
	kernelDir := flag.String("kernel", "", "directory into which a package of a kernel was extracted")
	memory := flag.Int("memory", 3072, "memory in MiB")
	disk := flag.Int("disk", 0, "size in MiB of a disk for /tmp; 0 puts /tmp into memory")
	cpus := flag.Int("cpus", 2, "processors")
	limit := flag.Duration("timeout", 10*time.Minute, "end the machine after that time")
	nested := flag.Bool("nested", false, "give the machine a separate KVM, and one processor")
	flag.Var(&files, "file", "PATH-IN-THE-MACHINE=PATH (repeatable); of a directory, all files in it")
	flag.Var(&programs, "program", "a program of this host, with its libraries (repeatable)")
	flag.Var(&modules, "module", "a kernel module (repeatable)")
	flag.Var(&env, "env", "NAME=VALUE (repeatable)")
	flag.Parse()
	k, err := kernel.Find(*kernelDir)
	if err != nil {
		return 0, err
	}
	all, err := testmachine.Programs(programs...)
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		name, from, ok := strings.Cut(file, "=")
		if !ok {
			return 0, fmt.Errorf("file %q: must be PATH-IN-THE-MACHINE=PATH", file)
		}
		if err := add(all, name, from); err != nil {
			return 0, err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	c := testmachine.Config{Kernel: k, MemoryMiB: *memory, DiskMiB: *disk, CPUs: *cpus, Nested: *nested, Modules: modules,
		Files: all, Command: flag.Args(), Env: env, Output: os.Stdout}
	if c.Nested {
		c.CPUs = 1
	} else {
		c.KVM = testmachine.KVMWorks(ctx, k)
	}
	return testmachine.Run(ctx, c)
}

// add adds a file, or the files of a directory.
func add(all map[string]string, name, from string) error {
	return filepath.WalkDir(from, func(at string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			all[path.Join(name, strings.TrimPrefix(at, from))] = at
		}
		return err
	})
}
