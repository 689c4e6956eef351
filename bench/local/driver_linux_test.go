package local

import "github.com/rundlet/rundlet/vm/gvisor"

var _ Driver = (*gvisor.Driver)(nil)
