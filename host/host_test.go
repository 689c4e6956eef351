package host

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const cpuFile = "some avg10=1.79 avg60=0.75 avg300=4.14 total=3047157735\nfull avg10=0.25 avg60=0.00 avg300=0.00 total=0\n"

// proc is a host with these files.
func proc(t *testing.T, files map[string]string) Host {
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

func TestPressureReadsTheLastTenSeconds(t *testing.T) {
	p, err := proc(t, map[string]string{
		"pressure/cpu":    cpuFile,
		"pressure/memory": "some avg10=100.00 avg60=0 avg300=0 total=0\nfull avg10=99.99 avg60=0 avg300=0 total=0\n",
		"pressure/io":     "some avg10=0.36 avg60=0.06 avg300=0.50 total=518297333\n", // As old kernels have it for cpu.
	}).Pressure()
	want := Pressure{CPU: Stall{1.79, 0.25}, Memory: Stall{100, 99.99}, IO: Stall{0.36, 0}}
	if err != nil || p != want {
		t.Errorf("got %+v, %v", p, err)
	}
}

func TestAKernelWithoutTheFiguresIsUnsupported(t *testing.T) {
	h := proc(t, nil)
	if _, err := h.Pressure(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("pressure: %v", err)
	}
	if _, err := h.Memory(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("memory: %v", err)
	}
	for err, want := range map[error]bool{
		syscall.EOPNOTSUPP: true, // What "psi=0" on the kernel command line gives.
		syscall.ENOENT:     true,
		syscall.EACCES:     false,
		syscall.EIO:        false,
	} {
		if unsupported(&fs.PathError{Op: "read", Path: "cpu", Err: err}) != want {
			t.Errorf("%v: want %v", err, want)
		}
	}
}

func TestBadPressureFilesAreRefused(t *testing.T) {
	for name, content := range map[string]string{
		"empty":          "",
		"only full":      "full avg10=0.00\n",
		"no average":     "some avg60=0.00 total=1\n",
		"no number":      "some avg10=x\n",
		"not a number":   "some avg10=NaN\n",
		"infinite":       "some avg10=+Inf\n",
		"negative":       "some avg10=-0.01\n",
		"more than all":  "some avg10=100.01\n",
		"bad full":       "some avg10=1.00\nfull avg10=?\n",
		"larger than it": cpuFile + strings.Repeat("x", maxFile),
	} {
		h := proc(t, map[string]string{"pressure/cpu": content, "pressure/memory": cpuFile, "pressure/io": cpuFile})
		if p, err := h.Pressure(); err == nil || errors.Is(err, errors.ErrUnsupported) || p != (Pressure{}) {
			t.Errorf("%s: got %+v, %v", name, p, err)
		}
	}
}

func TestMemoryIsInBytes(t *testing.T) {
	m, err := proc(t, map[string]string{"meminfo": "MemTotal:       24684084 kB\nMemFree:        23980960 kB\nMemAvailable:   24239300 kB\nHugePages_Total:       0\n"}).Memory()
	if want := (Memory{Total: 24684084 << 10, Available: 24239300 << 10}); err != nil || m != want {
		t.Errorf("got %+v, %v", m, err)
	}
}

func TestBadMemoryFilesAreRefused(t *testing.T) {
	for name, content := range map[string]string{
		"empty":        "",
		"no available": "MemTotal: 5 kB\n",
		"no total":     "MemAvailable: 5 kB\n",
		"zero":         "MemTotal: 0 kB\nMemAvailable: 0 kB\n",
		"negative":     "MemTotal: 5 kB\nMemAvailable: -1 kB\n",
		"too large":    "MemTotal: 9007199254740992 kB\nMemAvailable: 1 kB\n",
		"no number":    "MemTotal: many kB\n",
	} {
		if m, err := parseMemory(content); err == nil {
			t.Errorf("%s: got %+v", name, m)
		}
	}
	if m, err := parseMemory("MemTotal: 9007199254740991 kB\nMemAvailable: 9007199254740991 kB\n"); err != nil || m.Total != math.MaxInt64-1023 {
		t.Errorf("the largest: %+v, %v", m, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(cpuFile)
	f.Add("MemTotal:       24684084 kB\nMemAvailable:   24239300 kB\n")
	f.Add("some avg10=1e2 avg10=NaN\n\n full \x00")
	f.Fuzz(func(t *testing.T, content string) {
		if s, err := parseStall(content); err != nil {
			if s != (Stall{}) {
				t.Errorf("%+v with %v", s, err)
			}
		} else if !(s.Some >= 0 && s.Some <= 100 && s.Full >= 0 && s.Full <= 100) {
			t.Errorf("no percentages: %+v", s)
		}
		if m, err := parseMemory(content); err == nil && (m.Total <= 0 || m.Available < 0 || m.Available > m.Total) {
			t.Errorf("implausible: %+v", m)
		}
	})
}
