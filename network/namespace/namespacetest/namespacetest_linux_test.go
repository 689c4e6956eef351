package namespacetest

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
)

func TestANamespaceIsSetUpAndGoesWithItsTest(t *testing.T) {
	var path string
	t.Run("test", func(t *testing.T) {
		ran := false
		ns := New(t, func() error { ran = true; return nil })
		path = ns.Name()
		var links []net.Interface
		err := namespace.In(ns, func() (err error) {
			links, err = net.Interfaces()
			return err
		})
		if err != nil || !ran || len(links) != 1 {
			t.Errorf("set up: %v, links %v, %v", ran, links, err)
		}
	})
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); path != "" && err == nil && fs.Type == unix.NSFS_MAGIC {
		t.Errorf("%s is still there", path)
	}
}
