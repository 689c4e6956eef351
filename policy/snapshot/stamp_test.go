package snapshot

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/vm"
)

func TestRestoreThatCannotWorkIsRefusedWithTheReason(t *testing.T) {
	made := sample().Stamp
	for name, tc := range map[string]struct {
		host   func(*vm.Stamp)
		field  string // "" is compatible
		wanted string
		have   string
	}{
		"the same host": {func(*vm.Stamp) {}, "", "", ""},
		"lists in another order": {func(s *vm.Stamp) {
			s.Flags, s.CPUFeatures = []string{"overlay2=all", "network=sandbox"}, []string{"sse4_2", "avx"}
		}, "", "", ""},
		"a larger processor":        {func(s *vm.Stamp) { s.CPUFeatures = []string{"aes", "avx", "avx512f", "sse4_2"} }, "", "", ""},
		"another kernel, on gVisor": {func(s *vm.Stamp) { s.Kernel = "5.10" }, "", "", ""},
		"another driver":            {func(s *vm.Stamp) { s.Driver = "qemu" }, "driver", "gvisor", "qemu"},
		"another version":           {func(s *vm.Stamp) { s.Version = "v2" }, "version", "v0.0.0-2026", "v2"},
		"another architecture":      {func(s *vm.Stamp) { s.Arch = "arm64" }, "arch", "amd64", "arm64"},
		"another platform":          {func(s *vm.Stamp) { s.Platform = "kvm" }, "platform", "systrap", "kvm"},
		"one flag less":             {func(s *vm.Stamp) { s.Flags = s.Flags[:1] }, "flags", "overlay2=all", ""},
		"one flag more":             {func(s *vm.Stamp) { s.Flags = append(s.Flags, "debug=true") }, "flags", "", "debug=true"},
		"another value of a flag":   {func(s *vm.Stamp) { s.Flags = []string{"network=none", "overlay2=all"} }, "flags", "network=sandbox", "network=none"},
		"a smaller processor":       {func(s *vm.Stamp) { s.CPUFeatures = []string{"sse4_2"} }, "cpu features", "avx", ""},
		"all of it, driver first":   {func(s *vm.Stamp) { *s = vm.Stamp{Driver: "vz"} }, "driver", "gvisor", "vz"},
	} {
		t.Run(name, func(t *testing.T) {
			host := sample().Stamp
			tc.host(&host)
			err := Compatible(made, host)
			if tc.field == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var no *IncompatibleError
			if !errors.As(err, &no) || !errors.Is(err, vm.ErrIncompatible) {
				t.Fatalf("got %v", err)
			}
			if no.Field != tc.field || no.Wanted != tc.wanted || no.Have != tc.have {
				t.Errorf("got %+v", no)
			}
			for _, part := range []string{tc.field, tc.wanted, tc.have} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not name %q", err, part)
				}
			}
		})
	}
}

func TestKernelCountsOnlyWhereTheDriversRuleSaysSo(t *testing.T) {
	for driver, counts := range map[string]bool{
		"mem": false, "gvisor": false, "firecracker": false, "qemu": false, "vz": false, "unknown": true,
	} {
		made, host := sample().Stamp, sample().Stamp
		made.Driver, host.Driver, host.Kernel = driver, driver, "5.10"
		if err := Compatible(made, host); (err != nil) != counts {
			t.Errorf("%s: got %v", driver, err)
		}
	}
}

func TestArtifactWithoutMemoryBootsOnASmallerProcessor(t *testing.T) {
	host := sample().Stamp
	host.CPUFeatures, host.Kernel = []string{"sse4_2"}, "5.10"
	for _, kind := range []Kind{KindBaseTemplate, KindSnapshot, KindPause, KindFilesystemPause, KindContinuation} {
		for _, driver := range []string{"gvisor", "unknown"} {
			m := sample()
			m.Kind, m.Stamp.Driver, host.Driver = kind, driver, driver
			if err := m.Compatible(host); (err == nil) != (kind == KindFilesystemPause) {
				t.Errorf("%s by %s: %v", kind, driver, err)
			}
			other := host
			other.Version = "v2"
			// The gVisor driver keeps the version that saved it, and decides.
			err := m.Compatible(other)
			var no *IncompatibleError
			switch errors.As(err, &no); {
			case driver == "gvisor" && kind == KindFilesystemPause:
				if err != nil {
					t.Errorf("%s by %s on a host with another version: %v", kind, driver, err)
				}
			case no == nil || (no.Field == "version") == (driver == "gvisor"):
				t.Errorf("%s by %s on a host with another version: %v", kind, driver, err)
			}
		}
	}
}

func TestMissingFeaturesAreNamedInAShortText(t *testing.T) {
	made, host := sample().Stamp, sample().Stamp
	made.CPUFeatures = nil
	for i := range maxFeatures {
		made.CPUFeatures = append(made.CPUFeatures, fmt.Sprintf("f%04d", i))
	}
	err := Compatible(made, host)
	if err == nil || len(err.Error()) > 700 || !strings.Contains(err.Error(), "f0000, f0001") || !strings.Contains(err.Error(), "1016 more") {
		t.Errorf("got %v", err)
	}
}
