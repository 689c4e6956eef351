package qemu

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm/microvm/drivertest"
	"github.com/rundlet/rundlet/vm/vmtest"
)

// qemu is the driver, with the one process of each machine.
var qemu = drivertest.Kind{
	New:      New,
	Programs: []string{"qemu-system-x86"}, // Cut by the kernel.
	Case:     3 * time.Minute,
	Confinement: func(d *drivertest.Driver, r drivertest.Record) []vmtest.Confined {
		dir, disks := filepath.Join(d.Machines(), r.Key), filepath.Join(d.Disks(), r.Key)
		return []vmtest.Confined{{Name: "qemu", PID: r.PID, Private: []string{dir, dir + ".json", disks},
			Files: []string{"/dev/null", "/", "socket:*", "pipe:*", "anon_inode:*", "/memfd:*", "/dev/net/tun", "/dev/urandom", r.Spec.Rootfs,
				filepath.Join(dir, "*"), filepath.Join(disks, "*"), "/qmp", "/link", "/error", "/console.*", "/ram", "/disk", "/state"}}}
	},
}

func TestMain(m *testing.M) { drivertest.Main(m) }

func TestConformance(t *testing.T)                              { qemu.Conformance(t) }
func TestSuiteCrashChild(t *testing.T)                          { qemu.SuiteCrashChild(t) }
func TestALife(t *testing.T)                                    { qemu.Life(t) }
func TestGenerations(t *testing.T)                              { qemu.Generations(t) }
func TestAMachineIsGivenUpOnlyIfItIsGone(t *testing.T)          { qemu.GivenUpOnlyIfGone(t) }
func TestACreateWithoutDescriptorsLeavesNoProcess(t *testing.T) { qemu.CreateWithoutDescriptors(t) }
