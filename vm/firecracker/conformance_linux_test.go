package firecracker

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm/microvm/drivertest"
	"github.com/rundlet/rundlet/vm/microvm/machine"
	"github.com/rundlet/rundlet/vm/vmtest"
)

// fc is the driver, with the one process of each machine.
var fc = drivertest.Kind{
	New:      New,
	Programs: []string{"firecracker", "jailer"},
	Case:     10 * time.Minute, // in nested software emulation, on a busy host
	Confinement: func(d *drivertest.Driver, r drivertest.Record) []vmtest.Confined {
		dir, disks := filepath.Join(d.Machines(), r.Key), filepath.Join(d.Disks(), r.Key)
		return []vmtest.Confined{{Name: "firecracker", PID: r.PID, Private: []string{dir, dir + ".json", disks},
			Files: []string{"/dev/null", "/dev/kvm", "/dev/net/tun", "/dev/urandom", "socket:*", "anon_inode:*", "/base", "/disk", "/kernel", "/initramfs",
				filepath.Join(dir, machine.ConsoleFile), filepath.Join(dir, "error")},
			Except: map[string]string{"namespace user": "the jailer makes device nodes, as only the host's root can; the process has no capabilities afterwards"}}}
	},
}

func TestMain(m *testing.M) { drivertest.Main(m) }

func TestConformance(t *testing.T)                     { needsKVM(t); fc.Conformance(t) }
func TestSuiteCrashChild(t *testing.T)                 { fc.SuiteCrashChild(t) }
func TestALife(t *testing.T)                           { needsKVM(t); fc.Life(t) }
func TestGenerations(t *testing.T)                     { needsKVM(t); fc.Generations(t) }
func TestAMachineIsGivenUpOnlyIfItIsGone(t *testing.T) { needsKVM(t); fc.GivenUpOnlyIfGone(t) }
func TestACreateWithoutDescriptorsLeavesNoProcess(t *testing.T) {
	needsKVM(t)
	fc.CreateWithoutDescriptors(t)
}
