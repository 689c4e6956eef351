// Package firecracker is a driver over Firecracker, whose processes are started by its jailer: a separate guest kernel for each machine, by KVM. A machine
// boots a kernel that the operator installed, from a plain EROFS file and a private disk; its memory is saved and restored as a file that restored
// machines share until they write to it. docs/decisions/0088 has the design.
//
// It may import vm, vm/microvm, vm/firecracker and internal.
package firecracker
