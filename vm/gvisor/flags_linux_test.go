package gvisor

import (
	"flag"
	"slices"
	"strings"
	"testing"

	"gvisor.dev/gvisor/runsc/config"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/files"
)

// TestTheFlagsAreThoseThatGVisorPassesOn has gVisor's configuration read the flags and write those of a
// sandbox process.
func TestTheFlagsAreThoseThatGVisorPassesOn(t *testing.T) {
	dirs := files.Dirs{State: "/s", Run: "/r", Instance: "i"}
	for name, spec := range map[string]vm.Spec{"nothing": {}, "a disk and a network": {DiskMiB: 20, NetNS: "/n", VCPUs: 1, MemoryMiB: 100}} {
		for _, debug := range []bool{false, true} {
			fs := flag.NewFlagSet("runsc", flag.ContinueOnError)
			config.RegisterFlags(fs)
			flags := runscFlags(dirs, "key", debug, spec)
			for _, f := range flags {
				name, value, _ := strings.Cut(strings.TrimPrefix(f, "--"), "=")
				if err := fs.Set(name, value); err != nil {
					t.Fatal(err)
				}
			}
			conf, err := config.NewFromFlags(fs)
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.Sorted(slices.Values(conf.ToFlags())); !slices.Equal(got, slices.Sorted(slices.Values(flags))) {
				t.Errorf("%s: gVisor passes on %q, and not %q", name, got, flags)
			}
			if conf.Debug != debug || conf.RootDir != "/r/runsc" || !conf.IgnoreCgroups || !conf.AllowSUID {
				t.Errorf("%s: %+v", name, conf)
			}
		}
	}
}
