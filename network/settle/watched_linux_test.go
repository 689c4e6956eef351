package settle

import (
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/rundlet/rundlet/network/namespace"
)

// openSwitches counts the open files of switches. Others come and go: threads enter
// namespaces by them.
func openSwitches(t *testing.T) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if file, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil && strings.HasPrefix(file, "/proc/sys/net/") {
			n++
		}
	}
	return n
}

func TestWatchedSwitchesAreThoseOfTheNamespaceNow(t *testing.T) {
	ns, h := newNamespace(t)
	const key, global = "ipv4/conf/a/forwarding", "ipv4/ip_forward"
	write := func(key, value string) func() error {
		return func() error { return namespace.In(ns, func() error { return namespace.WriteSysctl(key, value) }) }
	}
	w := Watch(ns)
	step := func(mend bool) (bool, error) {
		return w.Sysctls(mend, map[string]string{key: "1", global: "1", "ipv4/conf/missing/forwarding": "1"})
	}
	before := openSwitches(t)
	check(t, "new switches", nil, step)
	if got := openSwitches(t) - before; got != 2 {
		t.Errorf("%d files are open, want one for each key that exists", got)
	}
	all := func(mend bool) (bool, error) { return w.Sysctls(mend, map[string]string{key: "1", global: "1"}) }
	check(t, "a switch", write(key, "0"), all)
	check(t, "the global switch", write(global, "0"), all)

	// The same name, another link: what is read must be the new one's.
	link, err := h.LinkByName("a")
	if err != nil {
		t.Fatal(err)
	}
	check(t, "another link", func() error {
		if err := h.LinkDel(link); err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "a"
		if err := h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "b"}); err != nil {
			return err
		}
		return write(key, "0")()
	}, all)

	if !w.have(map[string]string{key: "1", global: "1"}) {
		t.Error("what was just read needs the namespace again")
	}
	w.Close()
	if got := openSwitches(t) - before; got != 0 {
		t.Errorf("%d files are left open", got)
	}
}
