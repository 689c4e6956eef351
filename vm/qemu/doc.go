// Package qemu is a driver over QEMU's machine "microvm": a separate guest kernel for each machine, by KVM where that works and by
// software elsewhere. A machine boots a kernel that the operator installed, from a plain EROFS file and a private disk; its memory is
// saved and restored as a file that restored machines share until they write to it. What it has in common with other hypervisors is
// vm/microvm/driver. docs/decisions/0087 has the design and its sources.
//
// It may import vm, vm/microvm, vm/qemu and internal.
package qemu
