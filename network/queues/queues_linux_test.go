package queues

import (
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/namespace/namespacetest"
)

func TestALinkGetsItsQueues(t *testing.T) {
	ns := namespacetest.New(t, nil)
	links, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer links.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "eth0"
	if err := links.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth1"}); err != nil {
		t.Fatal(err)
	}
	link, err := links.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	index := link.Attrs().Index
	there := func(want bool) {
		t.Helper()
		if got, err := There(ns, index); got != want || err != nil {
			t.Errorf("there: %v, %v", got, err)
		}
	}
	there(false)
	for range 2 { // The second replaces the first.
		if err := Make(ns, links, index, 1e6, 100e6); err != nil {
			t.Fatal(err)
		}
		there(true)
	}
	if classes, err := links.ClassList(link, netlink.HANDLE_NONE); err != nil || len(classes) != Classes+1 {
		t.Errorf("%d classes, %v", len(classes), err)
	}
	// The library does not list the queues of another namespace.
	err = namespace.In(ns, func() error {
		list, err := netlink.QdiscList(link)
		bounded := 0
		for _, q := range list {
			if q.Type() == "bfifo" {
				bounded++
			}
		}
		if bounded != Classes {
			t.Errorf("%d of %d queues are bounded", bounded, Classes)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if there, err := There(ns, index+100); there || err != nil {
		t.Errorf("of a link that is not there: %v, %v", there, err)
	}
}
