package filters

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"gvisor.dev/gvisor/pkg/seccomp"
	"gvisor.dev/gvisor/pkg/seccomp/precompiledseccomp"
	sentryfilter "gvisor.dev/gvisor/runsc/boot/filter"
	sentry "gvisor.dev/gvisor/runsc/boot/filter/config"
	goferfilter "gvisor.dev/gvisor/runsc/fsgofer/filter"
	gofer "gvisor.dev/gvisor/runsc/fsgofer/filter/config"

	"github.com/rundlet/rundlet/vm/gvisor/sentry/filters/compute"
)

const again = "run go generate in vm/gvisor/sentry/filters"

// The table of the other architecture cannot be computed here, but it says of which gVisor
// it is.
func TestTheTablesAreOfThisGVisor(t *testing.T) {
	module, err := os.ReadFile("../../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		text, err := os.ReadFile("ready_" + arch + ".go")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "\n// gVisor ")
		version, _, _ := strings.Cut(rest, "\n")
		if version == "" || !strings.Contains(string(module), "gvisor.dev/gvisor "+version+"\n") || !strings.Contains(string(text), `GOARCH=\"`+arch+`\"`) {
			t.Errorf("the table of %s is of gVisor %q: %s", arch, version, again)
		}
	}
}

func TestTheTableIsWhatGVisorComputes(t *testing.T) {
	ofSentry, ofGofer, err := compute.Programs()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(ofSentry, ready.sentry) || !reflect.DeepEqual(ofGofer, ready.gofer) {
		t.Error("the filters are not those that gVisor computes: " + again)
	}
}

// TestGVisorInstallsTheSame compares the instructions that a process would install with
// those that gVisor would build for it.
func TestGVisorInstallsTheSame(t *testing.T) {
	Install()
	options, err := compute.SentryOptions()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range options {
		o.ControllerFD = 23
		p, ok := sentryfilter.GetPrecompiled(o.ConfigKey())
		if !ok {
			t.Fatalf("no filter for %s", o.ConfigKey())
		}
		allow, deny := sentry.Rules(o)
		same(t, p, o.Vars(), compute.Program(allow, deny, sentry.SeccompOptions(o)))
	}
	for _, o := range compute.GoferOptions() {
		p, ok := goferfilter.GetPrecompiled(o.ConfigKey())
		if !ok {
			t.Fatalf("no filter for %s", o.ConfigKey())
		}
		allow, deny := gofer.Rules(o)
		same(t, p, o.Vars(), compute.Program(allow, deny, seccomp.ProgramOptions{}))
	}
	options[0].NVProxy = true
	if _, ok := sentryfilter.GetPrecompiled(options[0].ConfigKey()); ok {
		t.Error("there is a filter for a configuration that was not computed")
	}
}

func same(t *testing.T, p precompiledseccomp.Program, vars precompiledseccomp.Values, built *seccomp.Program) {
	t.Helper()
	got, err := p.RenderInstructions(vars)
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := built.Build()
	if err != nil {
		t.Fatal(err)
	}
	if len(got) < 100 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %d instructions are not the %d that gVisor builds", p.Name, len(got), len(want))
	}
}
