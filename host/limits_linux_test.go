package host

import (
	"os"
	"path/filepath"
	"testing"
)

// fakeProc returns a process file system with these files.
func fakeProc(t *testing.T, files map[string]string) Host {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Host{Proc: dir}
}

func byName(all []Limit) map[string]Limit {
	out := map[string]Limit{}
	for _, l := range all {
		out[l.What] = l
	}
	return out
}

func TestLimits(t *testing.T) {
	h := fakeProc(t, map[string]string{
		"self/fd/0": "", "self/fd/1": "", "self/fd/2": "", "self/fd/3": "",
		"loadavg": "0.20 0.18 0.12 3/2119 11206\n", "sys/kernel/pid_max": "32768\n",
		"sys/net/netfilter/nf_conntrack_max": "262144\n", "sys/net/netfilter/nf_conntrack_count": "17\n",
	})
	all, err := h.Limits()
	got := byName(all)
	most, _ := Descriptors()
	if err != nil || len(all) != 3 || got[LackDescriptors] != (Limit{LackDescriptors, 3, most}) ||
		got[LackProcesses] != (Limit{LackProcesses, 2119, 32768}) || got[LackConntrack] != (Limit{LackConntrack, 17, 262144}) {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestALimitThatCannotBeReadKeepsNoOtherBack(t *testing.T) {
	h := fakeProc(t, map[string]string{"self/fd/0": "", "loadavg": "what", "sys/kernel/pid_max": "32768"})
	all, err := h.Limits()
	if err == nil || len(all) != 1 || all[0].What != LackDescriptors {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestLimitsOfThisProcess(t *testing.T) {
	before, err := Host{}.Limits()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	after, err := Host{}.Limits()
	if err != nil {
		t.Fatal(err)
	}
	b, a := byName(before)[LackDescriptors], byName(after)[LackDescriptors]
	if b.Used < 3 || a.Used != b.Used+1 || a.Max <= a.Used {
		t.Errorf("before %+v, after %+v", b, a)
	}
}
