package compute

import (
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/seccomp"
)

// A filter that holds the number of the process that computed it ends another one.
func TestNoFilterHoldsThisProcess(t *testing.T) {
	ofSentry, ofGofer, err := Programs()
	if err != nil || len(ofSentry) != 1 || len(ofGofer) != 2 {
		t.Fatal(len(ofSentry), len(ofGofer), err)
	}
	if at := ofSentry[0].VarOffsets["self_pid_low32bits"]; len(at) == 0 {
		t.Errorf("the process is not a variable: %v", ofSentry[0].VarOffsets)
	}
}

func TestAnotherRuleIsLeftAlone(t *testing.T) {
	allow := seccomp.MakeSyscallRules(map[uintptr]seccomp.SyscallRule{unix.SYS_RT_TGSIGQUEUEINFO: seccomp.MatchAll{}})
	if ownPID(allow, 1) {
		t.Error("a rule that allows everything was taken for the known one")
	}
	if _, same := allow.Get(unix.SYS_RT_TGSIGQUEUEINFO).(seccomp.MatchAll); !same {
		t.Error("it was changed")
	}
}
