package control

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gvisor.dev/gvisor/pkg/sentry/checkpoint"
	gvisor "gvisor.dev/gvisor/pkg/sentry/control"
	"gvisor.dev/gvisor/pkg/sentry/kernel/version"
	"gvisor.dev/gvisor/pkg/sentry/state/checkpointfiles"
	"gvisor.dev/gvisor/pkg/urpc"
	"gvisor.dev/gvisor/runsc/boot"
)

// TestTheStructsAreThoseOfGVisor compares every struct with gVisor's, field by field. What is left
// out here is left at its zero value there: a new field must be looked at.
func TestTheStructsAreThoseOfGVisor(t *testing.T) {
	for _, c := range []struct {
		ours, theirs any
		leftOut      string
	}{
		{SaveOpts{}, gvisor.SaveOpts{},
			"Key AppMFExcludeCommittedZeroPages ExecOpts UseCheckpointGofer CudaCheckpointPath CudaCheckpointSequential"},
		{RestoreOpts{}, boot.RestoreOpts{}, "HaveDeviceFile Background UseCheckpointGofer"},
		{FSSaveArgs{}, boot.FSSaveArgs{}, "ExitAfterSaving UseCheckpointGofer"},
		{ResourceID{}, checkpoint.ResourceID{}, "ContainerName"},
		{ExecArgs{}, gvisor.ExecArgs{}, "Filename Envv MountNamespace KUID KGID ExtraKGIDs NoNewPrivileges Capabilities StdioIsPty SupportTTYs FilePayload FDTable " +
			"PIDNamespace InitialCgroupV2 CgroupNamespace Limits SeccompProgram"},
		{WaitPIDArgs{}, boot.WaitPIDArgs{}, ""},
		{TarRootfsUpperLayerOpts{}, gvisor.TarRootfsUpperLayerOpts{}, ""},
		{EventOut{}, boot.EventOut{}, ""},
		{Event{}, boot.Event{}, "Type ID"},
		{Stats{}, boot.Stats{}, "CPU NetworkInterfaces"},
		{Memory{}, boot.Memory{}, "Cache Swap Kernel KernelTCP Raw"},
		{MemoryEntry{}, boot.MemoryEntry{}, "Limit Max Failcnt"},
		{Pids{}, boot.Pids{}, "Limit"},
		{Network{}, boot.CreateLinksAndRoutesArgs{}, "Defaultv4Gateway Defaultv6Gateway XDPLinks PCAP LogPackets NATBlob PauseExternalNetworking AllowConnectedOnSave"},
		{LoopbackLink{}, boot.LoopbackLink{}, "GVisorGRO"},
		{FDBasedLink{}, boot.FDBasedLink{}, "InterfaceIndex GVisorGRO TXChecksumOffload TBFRate TBFBurst ProcessorsPerChannel IsPacket PreConfigured"},
		{IPWithPrefix{}, boot.IPWithPrefix{}, ""},
		{Route{}, boot.Route{}, ""},
		{Neighbor{}, boot.Neighbor{}, ""},
	} {
		for _, d := range differences(reflect.TypeOf(c.ours), reflect.TypeOf(c.theirs), strings.Fields(c.leftOut)) {
			t.Errorf("%T: %s", c.ours, d)
		}
	}
}

func TestDifferencesAreFound(t *testing.T) {
	type inner struct{ A int }
	type ours struct {
		B inner
		C []string `json:"c"`
		urpc.FilePayload
	}
	type renamed struct {
		B inner
		C []string `json:"d"`
		urpc.FilePayload
	}
	type retyped struct {
		B inner
		C []int `json:"c"`
		urpc.FilePayload
	}
	type more struct {
		B inner
		C []string `json:"c"`
		urpc.FilePayload
		D int
	}
	for _, theirs := range []any{renamed{}, retyped{}, more{}} {
		if got := differences(reflect.TypeOf(ours{}), reflect.TypeOf(theirs), nil); len(got) != 1 {
			t.Errorf("%T: %q", theirs, got)
		}
	}
	if got := differences(reflect.TypeOf(ours{}), reflect.TypeOf(more{}), []string{"D"}); len(got) != 0 {
		t.Errorf("%q", got)
	}
	if got := differences(reflect.TypeOf(ours{}), reflect.TypeOf(more{}), []string{"D", "E"}); len(got) != 1 {
		t.Errorf("a field that is gone: %q", got)
	}
}

// differences lists how two structs differ, but for the fields that ours leaves out.
func differences(ours, theirs reflect.Type, leftOut []string) (all []string) {
	a, b := fields(ours), fields(theirs)
	for _, name := range leftOut {
		if _, ok := b[name]; !ok {
			all = append(all, fmt.Sprintf("gVisor has no field %s any more", name))
		}
		if _, ok := a[name]; ok {
			all = append(all, fmt.Sprintf("the field %s is not left out", name))
		}
		delete(b, name)
	}
	for name, field := range a {
		if theirs, ok := b[name]; !ok || field != theirs {
			all = append(all, fmt.Sprintf("the field %s is %q, and gVisor's %q", name, field, theirs))
		}
	}
	for name := range maps.Keys(b) {
		if _, ok := a[name]; !ok {
			all = append(all, fmt.Sprintf("gVisor has another field, %s", name))
		}
	}
	slices.Sort(all)
	return all
}

// fields describes the fields of a struct by their names: the JSON name, and what it is. Structs are
// compared where they stand in the list, so their packages do not count.
func fields(of reflect.Type) map[string]string {
	all := map[string]string{}
	for i := range of.NumField() {
		f := of.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = f.Name
		}
		all[f.Name] = fmt.Sprint(name, " ", shape(f.Type), " ", f.Anonymous)
	}
	return all
}

func shape(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice:
		return "[]" + shape(t.Elem())
	case reflect.Pointer:
		return "*" + shape(t.Elem())
	case reflect.Map:
		return "map[" + shape(t.Key()) + "]" + shape(t.Elem())
	case reflect.Struct:
		return t.Name()
	}
	return t.Kind().String()
}

func TestTheNamesAreThoseOfGVisor(t *testing.T) {
	for ours, theirs := range map[string]string{
		methodStartRoot: boot.ContMgrRootContainerStart, methodRestore: boot.ContMgrRestore, methodSetNetworkArgs: boot.ContMgrSetNetworkArgs,
		methodCheckpoint: boot.ContMgrCheckpoint, methodFSSave: boot.ContMgrFSSave, methodPause: boot.ContMgrPause, methodResume: boot.ContMgrResume,
		methodEvent: boot.ContMgrEvent, methodExecuteAsync: boot.ContMgrExecuteAsync, methodWaitPID: boot.ContMgrWaitPID,
		methodStacks: boot.DebugStacks, methodTarUpperLayer: boot.FsTarRootfsUpperLayer,
		StateFile: checkpointfiles.StateFileName, PagesFile: checkpointfiles.PagesFileName, PagesMetadataFile: checkpointfiles.PagesMetadataFileName,
		FSManifestFile: checkpointfiles.FSCheckpointManifestFileName, FSTarFile: checkpointfiles.FSCheckpointMultiTarFileName,
		GuestRelease: version.LinuxRelease(),
	} {
		if ours != theirs {
			t.Errorf("%s is %s in gVisor", ours, theirs)
		}
	}
}
