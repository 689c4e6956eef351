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
	some := func(avg10 string) string { return "some avg10=" + avg10 + " avg60=0.00 avg300=0.00 total=0\n" }
	for name, content := range map[string]string{
		"empty":         "",
		"only full":     strings.SplitAfter(cpuFile, "\n")[1],
		"no average":    "some avg60=0.00 total=1\n",
		"no number":     some("x"),
		"not a number":  some("NaN"),
		"infinite":      some("+Inf"),
		"negative":      some("-0.01"),
		"more than all": some("100.01"),
		"bad full":      strings.SplitAfter(cpuFile, "\n")[0] + "full avg10=? avg60=0.00 avg300=0.00 total=0\n",
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
		"no number":    "MemTotal: many kB\nMemAvailable: 1 kB\n",
		"a word":       "MemTotal:\nMemAvailable: 1 kB\n",
	} {
		if m, err := proc(t, map[string]string{"meminfo": content}).Memory(); err == nil || m != (Memory{}) {
			t.Errorf("%s: got %+v, %v", name, m, err)
		}
	}
	most := "MemTotal: 9007199254740991 kB\nMemAvailable: 9007199254740991 kB\n"
	if m, err := proc(t, map[string]string{"meminfo": most}).Memory(); err != nil || m.Total != math.MaxInt64-1023 {
		t.Errorf("the largest: %+v, %v", m, err)
	}
}

func FuzzMemory(f *testing.F) {
	f.Add("MemTotal:       24684084 kB\nMemAvailable:   24239300 kB\n")
	f.Add("MemTotal:\n\nMemAvailable: \x00")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content string) {
		if err := os.WriteFile(filepath.Join(dir, "meminfo"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		m, err := Host{Proc: dir}.Memory()
		if err == nil && (m.Total <= 0 || m.Available < 0 || m.Available > m.Total) {
			t.Errorf("implausible: %+v", m)
		}
	})
}

const swapFile = `Filename				Type		Size		Used		Priority
/dev/zram0                              partition	1048572		1024		100
`

func TestSwapIsInBytes(t *testing.T) {
	header, zram, _ := strings.Cut(swapFile, "\n")
	file := "/swapfile                               file		100		0		-2\n"
	for name, c := range map[string]struct {
		content string
		want    Swap
	}{
		"none":      {header + "\n", Swap{}},
		"empty":     {"", Swap{}},
		"zram":      {swapFile, Swap{Total: 1048572 << 10, Free: 1047548 << 10, Zram: true}},
		"two areas": {header + "\n" + zram + file, Swap{Total: 1048672 << 10, Free: 1047648 << 10}},
		"full":      {header + "\n" + "/dev/zram1 partition 5 5 0\n", Swap{Total: 5 << 10, Zram: true}},
	} {
		if s, err := proc(t, map[string]string{"swaps": c.content}).Swap(); err != nil || s != c.want {
			t.Errorf("%s: got %+v, %v", name, s, err)
		}
	}
	if _, err := proc(t, nil).Swap(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a kernel without swap: %v", err)
	}
}

func TestBadSwapFilesAreRefused(t *testing.T) {
	for name, line := range map[string]string{
		"too short": "/dev/zram0 partition 5", "no number": "/dev/zram0 partition x 0 0", "negative": "/dev/zram0 partition -5 0 0",
		"more than all": "/dev/zram0 partition 5 6 0", "negative use": "/dev/zram0 partition 5 -1 0",
		"too large": "/dev/zram0 partition 9223372036854775807 0 0",
	} {
		if s, err := proc(t, map[string]string{"swaps": "header\n" + line + "\n"}).Swap(); err == nil || s != (Swap{}) {
			t.Errorf("%s: got %+v, %v", name, s, err)
		}
	}
}

func FuzzSwap(f *testing.F) {
	f.Add(swapFile)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content string) {
		if err := os.WriteFile(filepath.Join(dir, "swaps"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := Host{Proc: dir}.Swap()
		if err == nil && (s.Total < 0 || s.Free < 0 || s.Free > s.Total) {
			t.Errorf("implausible: %+v", s)
		}
	})
}
