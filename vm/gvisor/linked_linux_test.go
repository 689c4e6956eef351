package gvisor

import (
	"errors"
	"testing"
)

func TestADynamicallyLinkedProgramIsRefused(t *testing.T) {
	if err := checkStatic("/bin/sh"); !errors.Is(err, errDynamic) {
		t.Errorf("/bin/sh: %v", err)
	}
	if err := checkStatic("/proc/self/exe"); err != nil {
		t.Errorf("this program: %v; run the tests with CGO_ENABLED=0", err)
	}
}
