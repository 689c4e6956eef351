package kernels

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
)

func TestKernels(t *testing.T) {
	root := t.TempDir()
	dirs := layout.Layout{StateDir: filepath.Join(root, "state"), CacheDir: filepath.Join(root, "cache"), RunDir: filepath.Join(root, "run")}
	cli := func(t *testing.T, args ...string) (string, error) {
		var out bytes.Buffer
		o := &command.Options{Dirs: dirs}
		root := &cobra.Command{Use: "rundlet", SilenceUsage: true, SilenceErrors: true}
		root.PersistentFlags().BoolVar(&o.JSON, "json", false, "")
		root.AddCommand(Commands(o)...)
		root.SetArgs(args)
		root.SetOut(&out)
		root.SetErr(t.Output())
		err := root.ExecuteContext(t.Context())
		return out.String(), err
	}
	must := func(t *testing.T, args ...string) string {
		t.Helper()
		out, err := cli(t, args...)
		if err != nil {
			t.Fatalf("rundlet %q: %v", args, err)
		}
		return out
	}
	if out := must(t, "kernel", "ls", "--json"); out != "[]\n" {
		t.Errorf("ls of none prints %q", out)
	}
	file := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := cli(t, "kernel", "install", file); err == nil || !strings.Contains(err.Error(), "not a kernel") {
		t.Errorf("install of a text: %v", err)
	}
	if _, err := cli(t, "kernel", "install"); err == nil {
		t.Error("install without a file works")
	}
	// An image that has its drivers built in; one of these is for this processor.
	var id string
	for _, image := range [][]byte{x86Image(), armImage()} {
		if err := os.WriteFile(file, image, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := cli(t, "kernel", "install", file); err == nil {
			id = strings.TrimSpace(out)
		} else if !strings.Contains(err.Error(), "and this host is") {
			t.Error(err)
		}
	}
	var list []kernel.Kernel
	if err := json.Unmarshal([]byte(must(t, "kernel", "ls", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].ID != id || !list[0].Current || filepath.Dir(filepath.Dir(list[0].Image)) != dirs.Kernels() {
		t.Errorf("list %+v, installed %q", list, id)
	}
	if out := must(t, "kernel", "ls"); !strings.Contains(out, id) || !strings.Contains(out, "new machines") {
		t.Errorf("ls prints %q", out)
	}
	if _, err := cli(t, "kernel", "rm", "0123456789ab"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("rm of none: %v", err)
	}
	must(t, "kernel", "rm", id)
	if _, err := kernel.Open(dirs.Kernels()); !errors.Is(err, kernel.ErrNone) {
		t.Errorf("open after rm: %v", err)
	}
}

func x86Image() []byte {
	image := make([]byte, 4096)
	copy(image[0x202:], "HdrS")
	return image
}

func armImage() []byte {
	image := make([]byte, 4096)
	copy(image[0x38:], "ARM\x64")
	return image
}
