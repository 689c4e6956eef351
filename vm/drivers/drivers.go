// Package drivers brings the drivers of this build into a program: importing it
// registers them with package vm. It is the one place outside a driver's package
// that names that package; a new driver is one more line here. It may import
// drivers, and it is imported for its effect, by node and by programs that use
// package vm without a node.
package drivers

import (
	_ "github.com/rundlet/rundlet/vm/firecracker"
	_ "github.com/rundlet/rundlet/vm/gvisor"
	_ "github.com/rundlet/rundlet/vm/qemu"
)
