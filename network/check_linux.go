package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/conntrack"
	"github.com/rundlet/rundlet/network/ipv6"
	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/nft"
	"github.com/rundlet/rundlet/network/queues"
	"github.com/rundlet/rundlet/network/record"
	"github.com/rundlet/rundlet/network/settle"
	"github.com/rundlet/rundlet/network/shares"
)

// Check reports what prevents sandboxes from using the network on this host. It tries
// everything in a temporary network namespace and changes nothing else. It returns nil
// if there are no problems.
func Check(cfg Config) []Problem {
	var problems []Problem
	fatal := func(what, hint string) {
		problems = append(problems, Problem{Fatal: true, What: what, Hint: hint})
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		fatal(err.Error(), "fix the network configuration")
		return problems
	}
	for _, c := range []struct {
		bit  int
		name string
	}{{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}, {unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}} {
		if ok, err := namespace.HasCapability(c.bit); err != nil || !ok {
			fatal("no "+c.name+": cannot create network namespaces, links and packet filters", "run as root")
		}
	}
	if problems != nil {
		return problems
	}
	err = namespace.InNew(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "eth0"
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "peer"}); err != nil {
			fatal(fmt.Sprintf("cannot create veth links: %v", err), "modprobe veth, or a kernel with CONFIG_VETH")
		}
		ns, err := os.Open(namespace.Own)
		if err != nil {
			return err
		}
		defer ns.Close()
		if err := checkQueues(ns, cfg); err != nil {
			problems = append(problems, Problem{
				What: fmt.Sprintf("sandboxes do not share the bandwidth evenly: %v", err),
				Hint: "modprobe sch_htb, or a kernel with CONFIG_NET_SCH_HTB",
			})
		}
		rules := newNFTRules(ns, cfg)
		defer rules.close()
		if err := checkRouting(ns, cfg); err != nil {
			fatal(fmt.Sprintf("cannot route by firewall marks: %v", err),
				"Linux 4.17 or later, with CONFIG_IP_MULTIPLE_TABLES and CONFIG_IP_ADVANCED_ROUTER")
		}
		if err := rules.reset(nil); err != nil {
			fatal(fmt.Sprintf("cannot create nf_tables rules: %v", err),
				"modprobe nf_tables nft_chain_nat nft_ct nft_masq nft_redir nft_reject_inet nft_connlimit nft_limit nft_hash, or a kernel with CONFIG_NF_TABLES_INET, CONFIG_NFT_REDIR and CONFIG_NF_CONNTRACK_MARK")
		}
		u := &uplink{cfg: cfg, rec: record.Uplink{Subnet: cfg.LinkRange}, rules: nft.Guarded{Table: "rundlet_check", Static: staticSets}, times: shares.Times}
		u.cfg.OnError = func(err error) { problems = append(problems, Problem{What: err.Error()}) }
		if err := u.expectRules(); err != nil {
			fatal(fmt.Sprintf("cannot create nf_tables rules on the host: %v", err), "modprobe nft_masq nft_reject_inet, or a kernel with CONFIG_NFT_MASQ and CONFIG_NFT_REJECT_INET")
		}
		if err := conntrack.ForgetFrom(ns, netip.IPv4Unspecified()); err != nil {
			fatal(fmt.Sprintf("cannot access connection tracking: %v", err),
				"modprobe nf_conntrack_netlink, or a kernel with CONFIG_NF_CT_NETLINK")
		}
		return nil
	})
	if err != nil {
		fatal(err.Error(), "run as root, and not in a container that forbids network namespaces")
	}
	if cfg.Uplink == UplinkAuto {
		problems = append(problems, checkForward(cfg)...)
	}
	return problems
}

// checkQueues creates the uplink's queues on link eth0 of a namespace.
func checkQueues(ns *os.File, cfg Config) error {
	links, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer links.Close()
	link, err := links.LinkByName("eth0")
	if err != nil {
		return err
	}
	return queues.Make(ns, links, link.Attrs().Index, cfg.SlotBandwidth, cfg.UplinkBandwidth)
}

// checkRouting adds the routing rules of the router and the uplink in a namespace and
// checks that the kernel returns the same rules.
func checkRouting(ns *os.File, cfg Config) error {
	links, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer links.Close()
	u := &uplink{cfg: cfg, rec: record.Uplink{Subnet: cfg.LinkRange}, links: links}
	want := append(routerRules(), u.wantRules()...)
	others := func(r netlink.Rule) bool { return r.Table != unix.RT_TABLE_LOCAL }
	for _, mend := range []bool{true, false} {
		lost, err := settle.Rules(links, mend, want, others)
		if err != nil {
			return err
		}
		if lost != mend {
			return errors.New("the kernel returned different routing rules than were added")
		}
	}
	return nil
}

// checkForward looks for firewalls in the daemon's namespace that drop forwarded
// packets: our accept does not override a drop in another table.
func checkForward(cfg Config) []Problem {
	path := cfg.HostNetNS
	if path == "" {
		path = namespace.Own
	}
	ns, err := os.Open(path)
	if err != nil {
		return []Problem{{Fatal: true, What: err.Error(), Hint: "name an existing network namespace"}}
	}
	defer ns.Close()
	var problems []Problem
	up := cfg.Instance + "up"
	chains, err := nft.DropForwarded(ns)
	for _, c := range chains {
		problems = append(problems, Problem{
			What: fmt.Sprintf("the host's firewall (%s) drops forwarded packets by default: sandboxes may have no internet", c),
			Hint: fmt.Sprintf("accept forwarding from and to interface %s there; with Docker: iptables -I DOCKER-USER -i %s -j ACCEPT && iptables -I DOCKER-USER -o %s -j ACCEPT", up, up, up),
		})
	}
	if err != nil {
		problems = append(problems, Problem{What: fmt.Sprintf("cannot read the host's packet filter: %v", err)})
	}
	unused, err := ipv6.Unused(ns)
	if err != nil {
		problems = append(problems, Problem{What: fmt.Sprintf("cannot read the host's routes of IPv6: %v", err)})
	}
	if unused {
		problems = append(problems, Problem{
			What: "sandboxes have IPv4 only: the host has IPv6, but does not forward it",
			Hint: "sysctl -w net.ipv6.conf.all.forwarding=1; before that, accept_ra=2 for a link whose route comes from a router's advertisements",
		})
	}
	return problems
}
