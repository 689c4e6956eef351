package doctor

import (
	"strings"
	"testing"
)

func TestDoctorJudgesTheLimitsOfTheHost(t *testing.T) {
	for _, tc := range []struct {
		name   string
		got    Finding
		status Status
		detail string
	}{
		{"many files", descriptorsFinding(1 << 20), OK, "about 49144 sandboxes"},
		{"1,024 files", descriptorsFinding(1024), Warn, "about 40 sandboxes"},
		{"hardly a file", descriptorsFinding(128), Fail, "about 0 sandboxes"},
		{"default of old kernels", processesFinding("32768\n", "191000\n"), Warn, "about 614 idle ones, or 11 that"},
		{"threads-max is less", processesFinding("4194304\n", "100000\n"), Warn, "at most 75000 threads"},
		{"many processes", processesFinding("4194304\n", "4194304\n"), OK, ""},
		{"no threads-max", processesFinding("4194304\n", ""), OK, ""},
		{"no pid_max", processesFinding("", ""), Warn, "cannot read"},
		{"no connection tracking", conntrackFinding("", ""), Info, "not in use"},
		{"small table", conntrackFinding("65536\n", "5\n"), Warn, "5 of 65536"},
		{"full table", conntrackFinding("262144\n", "262144\n"), Warn, "262144 of 262144"},
		{"large table", conntrackFinding("262144\n", "5\n"), OK, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.got.Status != tc.status || !strings.Contains(tc.got.Detail, tc.detail) {
				t.Errorf("%+v", tc.got)
			}
			if (tc.got.Status == Warn && tc.got.Detail != "cannot read pid_max" || tc.got.Status == Fail) != (tc.got.Hint != "") {
				t.Errorf("hint of %+v", tc.got)
			}
		})
	}
}
