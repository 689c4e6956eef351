//go:build linux

package gvisor

import (
	"debug/elf"
	"errors"
	"slices"
)

// errDynamic: a sandbox process is this program once more, in a root directory
// that has no libraries. Only tests run another one: they link specutils.ExePath to a
// static program, since the race detector needs cgo (scripts/unit).
var errDynamic = errors.New("this program is dynamically linked, so it cannot start again inside a sandbox's empty root")

// hintStatic is what to do about errDynamic.
const hintStatic = "build the program with CGO_ENABLED=0"

// checkStatic refuses a program that needs a dynamic loader, as the go command
// builds where there is a C compiler and nothing forbids cgo. Its sandboxes would
// end with "EOF" and no other word.
func checkStatic(program string) error {
	f, err := elf.Open(program)
	if err != nil {
		return err
	}
	defer f.Close()
	if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return errDynamic
	}
	return nil
}
