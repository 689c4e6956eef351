package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/procfs"
)

func meminfo(totalKiB, availableKiB uint64) procfs.Meminfo {
	return procfs.Meminfo{MemTotal: &totalKiB, MemAvailable: &availableKiB}
}

func TestFindings(t *testing.T) {
	const (
		v1    = "30 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
		v2    = "32 24 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
		noCPU = "31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
		other = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\nshort - cgroup\nnonsense\n"
	)
	at := func(year int) time.Time { return time.Date(year, 1, 2, 3, 4, 5, 0, time.UTC) }
	for name, c := range map[string]struct {
		got    Finding
		want   Status
		detail string
	}{
		"linux":           {platformFinding("linux", "arm64"), OK, "linux/arm64"},
		"mac":             {platformFinding("darwin", "arm64"), Fail, "darwin/arm64"},
		"odd processor":   {platformFinding("linux", "riscv64"), Fail, "riscv64"},
		"debian kernel":   {kernelFinding("6.1.0-18-amd64"), OK, "6.1.0"},
		"old kernel":      {kernelFinding("5.4.0-generic"), Warn, "5.4"},
		"ancient kernel":  {kernelFinding("3.10.0-1160.el7"), Fail, "3.10"},
		"4.14":            {kernelFinding("4.14.9"), Fail, "4.14"},
		"strange kernel":  {kernelFinding("mainline"), Warn, "mainline"},
		"cgroup v1":       {cgroupFinding(other+v1, ""), OK, "version 1"},
		"cgroup v2":       {cgroupFinding(other+v2, "cpuset cpu io memory pids\n"), OK, "version 2"},
		"cgroup hybrid":   {cgroupFinding(v1+v2, ""), OK, "hybrid"},
		"cgroup none":     {cgroupFinding(other, ""), Warn, "not mounted"},
		"cgroup no cpu":   {cgroupFinding(noCPU, ""), Warn, "missing controllers: cpu"},
		"cgroup v2 empty": {cgroupFinding(v2, ""), Warn, "missing controllers: cpu, memory"},
		"memory":          {memoryFinding(meminfo(16000000, 8000000), nil), OK, "15.3 GiB, 7.6 GiB available"},
		"no swap":         {swapFinding(nil, nil, true), Info, "none: idle sandboxes keep their memory"},
		"zram":            {swapFinding([]*procfs.Swap{{Filename: "/dev/zram0", Size: 8 << 20, Used: 1 << 20}}, nil, true), OK, "8.0 GiB, 1.0 GiB used; idle sandboxes are paged out"},
		"swap on a disk":  {swapFinding([]*procfs.Swap{{Filename: "/dev/zram0", Size: 1 << 20}, {Filename: "/swapfile", Size: 1 << 20}}, nil, false), Info, "2.0 GiB, 0.0 GiB used; idle sandboxes are paged out only when"},
		"odd swap":        {swapFinding(nil, errors.New("many is not a number"), true), Info, "cannot read /proc/swaps: many"},
		"little memory":   {memoryFinding(meminfo(900000, 800000), nil), Warn, "0.8 GiB"},
		"odd meminfo":     {memoryFinding(procfs.Meminfo{}, errors.New("many is not a number")), Warn, "cannot parse"},
		"short meminfo":   {memoryFinding(procfs.Meminfo{MemTotal: new(uint64(5))}, nil), Warn, "cannot parse"},
		"disk":            {diskFinding("/s", 50*gib), OK, "50.0 GiB free for /s"},
		"little disk":     {diskFinding("/s", 2*gib), Warn, "2.0"},
		"full disk":       {diskFinding("/s", 1000), Fail, "0.0"},
		"clock":           {clockFinding(at(2027), true), OK, "2027-01-02T03:04:05Z"},
		"free clock":      {clockFinding(at(2027), false), Info, "not synchronised"},
		"1970":            {clockFinding(at(1970), true), Fail, "1970"},
		"userns":          {userNamespacesFinding("95000\n"), OK, "95000"},
		"userns off":      {userNamespacesFinding("0\n"), Info, "disabled"},
		"no userns":       {userNamespacesFinding(""), Info, "not supported"},
	} {
		if c.got.Status != c.want || !strings.Contains(c.got.Detail, c.detail) {
			t.Errorf("%s: got %+v, want %s with %q", name, c.got, c.want, c.detail)
		}
		if c.got.Status == Fail && c.got.Hint == "" {
			t.Errorf("%s: failed without a hint", name)
		}
	}
}

func TestCheck(t *testing.T) {
	more := func(context.Context) []Finding { return []Finding{{Name: "more", Status: Info, Detail: "d"}} }
	got := Check(t.Context(), t.TempDir(), more, more)
	names := map[string]int{}
	for _, f := range got {
		names[f.Name]++
		if f.Detail == "" || f.Status == "" {
			t.Errorf("empty: %+v", f)
		}
	}
	if got[0].Name != "platform" || names["more"] != 2 || got[len(got)-1].Name != "more" {
		t.Errorf("got %+v", got)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := func(context.Context) []Finding { cancel(errors.New("enough")); return nil }
	if got := run(ctx, []CheckFunc{stop, more}); len(got) != 1 || !Failed(got) {
		t.Errorf("after its context ended: %+v", got)
	}
}

func TestRender(t *testing.T) {
	findings := []Finding{{"a", OK, "fine", ""}, {"longer", Fail, "two\nlines\x1b", "do this"}}
	var table, js strings.Builder
	if err := WriteTable(&table, findings); err != nil {
		t.Fatal(err)
	}
	if want := "ok    a       fine\nfail  longer  two lines\n              -> do this\n"; table.String() != want {
		t.Errorf("table:\n%q want\n%q", table.String(), want)
	}
	if err := WriteJSON(&js, findings); err != nil {
		t.Fatal(err)
	}
	var got struct {
		OK       *bool
		Findings []Finding
	}
	if err := json.Unmarshal([]byte(js.String()), &got); err != nil || got.OK == nil || *got.OK || len(got.Findings) != 2 || got.Findings[1] != findings[1] {
		t.Errorf("json: %s, %v", js.String(), err)
	}
	js.Reset()
	if err := WriteJSON(&js, nil); err != nil || !strings.Contains(js.String(), `"findings": []`) {
		t.Errorf("json of nothing: %s, %v", js.String(), err)
	}
}

func TestTheDoctorSaysHowToGetSwap(t *testing.T) {
	with, without := swapFinding(nil, nil, true).Hint, swapFinding(nil, nil, false).Hint
	if strings.Contains(with, "modprobe") || !strings.Contains(without, "modprobe zram; zramctl") || !strings.Contains(with, "swapon") {
		t.Errorf("with the device %q, without it %q", with, without)
	}
	slow := swapFinding([]*procfs.Swap{{Filename: "/swapfile", Size: 5}}, nil, true).Hint
	if !strings.HasPrefix(slow, "/swapfile: from a disk a sandbox wakes up slowly") {
		t.Errorf("on a disk: %q", slow)
	}
}
