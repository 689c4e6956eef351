package gvisor

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/budget"
	"github.com/rundlet/rundlet/vm/gvisor/pages"
)

// wakeUps is how often the machine is paged out and asked.
const wakeUps = 40

// Swap is the whole host's, so the test runs only when it is asked for: see make swap.
func TestAPagedOutMachineIsSmallAndAnswers(t *testing.T) {
	if os.Getenv("RUNDLET_TEST_SWAP") != "1" {
		t.Skip("it turns swap on for the whole host: RUNDLET_TEST_SWAP=1, as in make swap")
	}
	useZram(t)
	d := newDriver(t)
	start(t, d, "a", guestSpec(t))
	memory := client{d}
	text := strings.Repeat("kept over swap ", 100_000)
	if err := memory.Write(t.Context(), "a", "text", text); err != nil {
		t.Fatal(err)
	}
	if err := d.Snapshot(t.Context(), "a", "one"); err != nil {
		t.Fatal(err)
	}
	spec := guestSpec(t)
	spec = vm.Spec{NetNS: spec.NetNS, GuestIP: spec.GuestIP, RestoreFrom: &vm.SnapshotRef{VMID: "a", SnapshotID: "one", ResumeImmediately: true}}
	if err := d.Create(t.Context(), "b", spec); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b"} {
		defer func() {
			if err := d.Destroy(context.Background(), id); err != nil {
				t.Error(err)
			}
		}()
		warm := timedAnswers(t, memory, id, wakeUps, func() {})
		before := swappable(t, d, id)
		began := time.Now()
		freed, err := d.PageOut(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		took, after := time.Since(began), swappable(t, d, id)
		if freed < before/3 || after > before-before/3 {
			t.Errorf("%s had %d KiB, paging out freed %d KiB and left %d KiB", id, before>>10, freed>>10, after>>10)
		}
		pids, err := mustFind(t, d, id).processes()
		if err != nil {
			t.Fatal(err)
		}
		if swapped := pages.Swapped(pids); swapped < budget.MiB || swapped > before {
			t.Errorf("%s had %d KiB, and %d KiB of private memory are in swap", id, before>>10, swapped>>10)
		}
		cold := timedAnswers(t, memory, id, wakeUps, func() {
			if _, err := d.PageOut(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		})
		if got, err := memory.Read(t.Context(), id, "text"); err != nil || got != text {
			t.Errorf("%s lost its memory: %d bytes of %d, %v", id, len(got), len(text), err)
		}
		t.Logf("%s: anonymous and shared memory %.1f MiB, paged out in %s %.1f MiB; answer of the warm one p50 %v max %v, of the paged out one p50 %v max %v (n=%d)",
			id, mebi(before), took.Round(100*time.Microsecond), mebi(after), warm[wakeUps/2], warm[wakeUps-1], cold[wakeUps/2], cold[wakeUps-1], wakeUps)
	}
}

func mebi(bytes int64) float64 { return float64(bytes) / budget.MiB }

// timedAnswers times n answers of a guest, each after prepare, and sorts the times.
func timedAnswers(t *testing.T, c client, id string, n int, prepare func()) (all []time.Duration) {
	t.Helper()
	for range n {
		prepare()
		began := time.Now()
		if _, err := c.do(t.Context(), id, "GET", "/ping", ""); err != nil {
			t.Fatal(err)
		}
		all = append(all, time.Since(began).Round(10*time.Microsecond))
	}
	slices.Sort(all)
	return all
}

// swappable is the memory of a machine's processes that can go to swap.
func swappable(t *testing.T, d *Driver, id string) (sum int64) {
	t.Helper()
	pids, err := mustFind(t, d, id).processes()
	if err != nil || len(pids) < 2 {
		t.Fatalf("processes %v: %v", pids, err)
	}
	for _, pid := range pids {
		bytes, err := pages.Resident(pid)
		if err != nil {
			t.Fatal(err)
		}
		sum += bytes
	}
	return sum
}

// useZram turns on swap in compressed memory until the test ends. The device is the
// test's.
func useZram(t *testing.T) {
	t.Helper()
	const size = 512 * budget.MiB
	number, err := os.ReadFile("/sys/class/zram-control/hot_add")
	if err != nil {
		t.Fatalf("this kernel has no zram: %v", err)
	}
	n := strings.TrimSpace(string(number))
	sys, device := "/sys/block/zram"+n, filepath.Join(t.TempDir(), "zram")
	var major, minor uint32
	dev, err := os.ReadFile(sys + "/dev")
	if err == nil {
		_, err = fmt.Sscanf(string(dev), "%d:%d", &major, &minor)
	}
	if err == nil {
		err = unix.Mknod(device, unix.S_IFBLK|0o600, int(unix.Mkdev(major, minor)))
	}
	if err != nil {
		t.Fatal(err)
	}
	on := false
	path, err := unix.BytePtrFromString(device)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if on {
			if _, _, errno := unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(path)), 0, 0); errno != 0 {
				t.Errorf("swap stays on: %v", errno)
			}
		}
		if err := os.WriteFile("/sys/class/zram-control/hot_remove", []byte(n), 0); err != nil {
			t.Errorf("zram%s is left: %v", n, err)
		}
	})
	if err := os.WriteFile(sys+"/disksize", []byte(fmt.Sprint(size)), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(device, swapHeader(size), 0); err != nil {
		t.Fatal(err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(path)), 0, 0); errno != 0 {
		t.Fatalf("swapon: %v", errno)
	}
	on = true
}

// swapHeader is the first page of a swap area; see mkswap.
func swapHeader(size int) []byte {
	page := os.Getpagesize()
	b := make([]byte, page)
	binary.NativeEndian.PutUint32(b[1024:], 1)
	binary.NativeEndian.PutUint32(b[1028:], uint32(size/page-1))
	copy(b[page-10:], "SWAPSPACE2")
	return b
}

// A machine that ends while it is paged out has nothing left to page out.
func TestPagingOutAMachineThatIsBeingDestroyedIsNoFailure(t *testing.T) {
	var d *Driver
	var err error
	asked := false
	d = newDriver(t, func(c *Config) {
		c.Failpoint = func(step, id string) {
			if step == stepDestroyCgroup {
				asked = true
				_, err = d.PageOut(context.Background(), id)
			}
		}
	})
	start(t, d, "a", guestSpec(t))
	if err := d.Destroy(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if !asked || err != nil {
		t.Errorf("asked: %v, and PageOut returned %v", asked, err)
	}
}
