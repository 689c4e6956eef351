//go:build linux

package process

import (
	"os"
	"strings"
	"sync"
)

// thisBoot is the id that BootID has read.
var thisBoot struct {
	mu sync.Mutex
	id string
}

// BootID names this boot of the host. Process ids mean nothing in another. It is
// read once, when the driver is opened, which fails without it: a machine whose record
// has another one is taken for lost.
func BootID() string {
	thisBoot.mu.Lock()
	defer thisBoot.mu.Unlock()
	if thisBoot.id == "" {
		data, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
		thisBoot.id = strings.TrimSpace(string(data))
	}
	return thisBoot.id
}
