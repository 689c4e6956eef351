package guard

import "testing"

func TestWhatIsNotLinked(t *testing.T) {
	const kernel = "gvisor.dev/gvisor/pkg/sentry/kernel"
	for name, c := range map[string]struct {
		program string
		linked  []string
		want    int
	}{
		"the kernel":            {"cmd/rundlet", []string{"fmt", kernel, kernel + "/auth"}, 1},
		"its whole directory":   {"cmd/rundlet", []string{"gvisor.dev/gvisor/pkg/sentry"}, 1},
		"both":                  {"cmd/rundlet", []string{"gvisor.dev/gvisor/runsc/boot/procfs", kernel}, 2},
		"another program":       {"cmd/rundlet-sandbox", []string{kernel}, 0},
		"a network stack":       {"cmd/rundlet", []string{"gvisor.dev/gvisor/pkg/tcpip/stack", "gvisor.dev/gvisor/runsc/cgroup"}, 0},
		"a name with that part": {"cmd/rundlet", []string{"gvisor.dev/gvisor/pkg/sentrytest", "gvisor.dev/gvisor/runsc/bootstrap"}, 0},
	} {
		if got := Unlinked(c.program, c.linked); len(got) != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	programs := map[string]bool{}
	for _, u := range unlinked {
		programs[u.program] = true
	}
	for program := range programs {
		var linked []string
		for _, p := range list(t, "-deps", "-json=ImportPath", "./"+program) {
			linked = append(linked, p.ImportPath)
		}
		if len(linked) < 100 {
			t.Errorf("%s is linked with %d packages only", program, len(linked))
		}
		for _, f := range Unlinked(program, linked) {
			t.Error(f)
		}
	}
}
