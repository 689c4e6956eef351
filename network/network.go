// Package network gives each sandbox a separate network namespace, filtered
// from before its first packet, and lets the daemon dial into it. Linux only;
// elsewhere Open fails with ErrUnsupported. It is one mechanism: it knows
// nothing of sandboxes, drivers or templates, imports no package of this module
// but internal ones and those below it, and only runtime and cmd may import it.
//
// # Topology
//
//	slot namespace       router namespace            daemon's namespace
//	eth0 10.200.0.2 ──── s-0a1b.. 10.200.0.1
//	eth0 10.200.0.6 ──── s-77fe.. 10.200.0.5
//	                     uplink   198.19.x.2 ─────── rl….up 198.19.x.1 ── eth0
//
// All host ends of the slots live in one router namespace per instance, with
// every filter rule. The guest range exists only there, so it cannot collide
// with a route of the host. The daemon's namespace gets one link, one nft table,
// two or more routing rules, a route that closes the link's subnet, and two or
// more per-interface forwarding switches, and only once a slot with internet
// access is acquired.
//
// # Slots
//
// A slot serves one sandbox start or restore and is then destroyed: a runtime
// such as runsc moves the address and the routes of eth0 into its own stack, so
// a used namespace differs from a new one.
//
// # Rules
//
// A packet of a slot is dropped if its source is not the slot's
// address. Slots never reach each other, the router, the host by any of its
// addresses, nor private, link-local, metadata, multicast or reserved ranges.
// Only the internet is left, or parts of it, if the slot's Policy allows it. Every refused packet
// that is not spoofed gets an ICMP error at once, so that a name lookup without
// internet fails at once; of each slot a bounded number, so that a flood takes none from
// others. A slot has ::1 on its loopback. It has another address of IPv6, which is made
// of its IPv4 address, if the daemon's namespace has IPv6 for guests; see package ipv6. The
// default is to drop, and the rules exist before the interface, so no packet passes
// before they apply.
//
// # Flows
//
// The number of flows that the kernel tracks for a slot is bounded, and the flows
// are deleted with the slot, in the router and in the daemon's namespace. Traffic
// between the daemon and a guest is not tracked. Packets of a slot to the internet wait in a separate
// queue, and have a share of the bandwidth.
//
// # Losses
//
// Other programs change the same tables, links and switches. In both namespaces
// packets of guests are routed only with a mark that the filter gives to permitted
// packets, so that lost rules, one or all, close the way. The kernel reports changes,
// and the state that it does not report is checked every second. Lost parts are made
// again, and the others are left alone. See Repair.
//
// # Parts
//
// leases records the slots and who holds each; pool makes and destroys them. The
// router (namespace, links, routes) and the uplink are what all slots share, and the
// enforcer, nftRules, has the policies of slots in force there. tracked.Flows deletes
// the tracked flows of slots that have ended. Each part that others can break has a
// method settle, which the watcher calls; repairs records what it did.
//
// The packages below know nothing of slots: namespace enters network namespaces, nft
// writes and compares tables of rules, settle does so with addresses, routes and
// switches, conntrack lists tracked flows, and changes reports that something has
// changed.
package network

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"go4.org/netipx"

	"github.com/rundlet/rundlet/internal/retry"
	"github.com/rundlet/rundlet/network/ipv6"
	"github.com/rundlet/rundlet/network/policies"
	"github.com/rundlet/rundlet/network/slash30"
)

// The error classes, for errors.Is.
var (
	// ErrUnsupported: this operating system has no network namespaces.
	ErrUnsupported = errors.New("network: not supported on this system")
	// ErrInvalid: a Config or an argument that can never work.
	ErrInvalid = errors.New("network: invalid argument")
	// ErrNotFound: no leased slot has this id.
	ErrNotFound = errors.New("network: slot not found")
	// ErrClosed: the Network is closed.
	ErrClosed = errors.New("network: closed")
	// ErrExhausted: every guest subnet is in use.
	ErrExhausted = slash30.ErrExhausted
	// ErrInUse: another live daemon owns this RunDir.
	ErrInUse = errors.New("network: run directory is in use")
	// ErrUplink: the way to the internet could not be set up.
	ErrUplink = errors.New("network: uplink")
)

// UplinkMode says how slots reach the internet.
type UplinkMode int

const (
	// UplinkAuto connects the router to the daemon's namespace when the first
	// slot with internet access is acquired.
	UplinkAuto UplinkMode = iota
	// UplinkNone never touches the daemon's namespace: no slot has a way out.
	UplinkNone
)

// Config is the constant part of a Network. Only RunDir is required.
type Config struct {
	// RunDir holds the namespaces (as bind mounts), the lock and the record of
	// the changes in the daemon's namespace. It should be on a tmpfs such
	// as /run, and it names the instance: two daemons need two of them.
	RunDir string
	// Instance names the objects in the daemon's namespace: 1 to 8 characters
	// of [a-z0-9]. Default: derived from RunDir, so that it is unique.
	Instance string
	// HostNetNS is the path of the namespace that the uplink leads to. Default:
	// that of the thread that calls Open.
	HostNetNS string
	// Range is cut into a /30 for each slot. It must lie within the private
	// IPv4 ranges. Default 10.200.0.0/16, which is 16384 slots.
	Range netip.Prefix
	// LinkRange is where the uplink's /30 is taken from: the first that no
	// route or address of the daemon's namespace overlaps. It must be IPv4 and
	// always denied to guests. Default 198.19.224.0/19.
	LinkRange netip.Prefix
	// Ahead is how many slots are kept ready. Default 4; negative: none.
	Ahead int
	// Default is the policy that the slots made ahead have already. Acquiring
	// one with another policy costs a rule change: to allow takes less than a
	// millisecond, to deny ten or more. So the zero value serves both well.
	Default Policy
	// Nameservers may be asked on port 53, TCP and UDP, even where their
	// addresses are private, by slots with internet access. IPv4 and not
	// loopback. Default 1.1.1.1 and 8.8.8.8.
	Nameservers []netip.Addr
	// Denied are more destinations that no policy opens. Name servers are asked all the
	// same. Of a Network it has those that are denied always, too.
	Denied []netip.Prefix
	// NamedConnections is how many connections of all slots the gateway passes on at most, of three file descriptors
	// each. Default 4096.
	NamedConnections int
	// Certify makes a certificate for a host, which guests trust, for the policies with Headers; nil: there are none. Roots
	// are the authorities that such hosts are checked by; nil is those of this machine.
	Certify func(host string) (*tls.Certificate, error)
	Roots   *x509.CertPool
	// Uplink says how slots reach the internet.
	Uplink UplinkMode
	// SlotBandwidth bounds the traffic of a slot to the internet, and from there, each
	// in bytes per second. Default 125e6: 1 Gbit/s.
	SlotBandwidth uint64
	// UplinkBandwidth bounds the traffic that all slots send, in bytes per second: a
	// little less than the slowest link on the way. Slots that want to send more
	// share it evenly. Default: not known, and no bound.
	UplinkBandwidth uint64
	// OnError receives errors of background work, which is retried. It
	// must not block. Default: nothing.
	OnError func(error)
	// OnRepair receives the losses that were repaired, or could not be, once for each
	// change of them. It must not block. Default: nothing.
	OnRepair func(Repair)
}

// The parts that other programs on this machine can remove or change.
const (
	LostHostRules      = "host_rules"      // The table of packet filter rules in the daemon's namespace.
	LostHostRoutes     = "host_routes"     // Routing rules and routes there.
	LostUplink         = "uplink"          // The link between the namespaces.
	LostUplinkAddress  = "uplink_address"  // Its addresses and switches.
	LostForwarding     = "forwarding"      // The forwarding switches of the daemon's namespace.
	LostRouterRules    = "router_rules"    // The table in the router, with the rules of all slots.
	LostRouterRoutes   = "router_routes"   // Routing rules and routes there.
	LostRouterSettings = "router_settings" // Switches there.
	LostSlotLink       = "slot_link"       // The link of a slot, or its address.
	LostUnknown        = "unknown"         // It cannot be looked at.
)

// Losses are all that can be repaired.
var Losses = []string{
	LostHostRules, LostHostRoutes, LostUplink, LostUplinkAddress, LostForwarding,
	LostRouterRules, LostRouterRoutes, LostRouterSettings, LostSlotLink,
}

// Repair is the result of one check of the network.
type Repair struct {
	// Lost names the parts that were wrong or missing, of Losses.
	Lost []string
	// By is the program that changed a packet filter last, if rules are among it
	// and the kernel has said so.
	By string
	// Next, if it is above zero, is how long the next repair waits: another
	// program undoes them.
	Next time.Duration
	// Err is why the repair failed.
	Err error
}

// Slot is a network place for one sandbox. The value is a copy, free to keep.
type Slot struct {
	// ID is unique, also over time and restarts.
	ID string
	// NetNS is the path of the network namespace: lo and eth0 are up, eth0 has
	// GuestIP and the default route.
	NetNS string
	// GuestIP is the address of eth0, for DialContext.
	GuestIP netip.Addr
	// Policy is the one that the rules in place enforce.
	Policy Policy
}

// Counts is how many objects of each kind exist, read from the kernel and the
// run directory. It is for tests of leaks and for the operator.
type Counts struct {
	// Leased and Ready are slots of this Network value.
	Leased, Ready int
	// Namespaces are bind-mounted slot namespaces, Links the host ends of
	// slots, Rules the slots that the packet filter knows.
	Namespaces, Links, Rules int
}

// Problem is something that keeps sandboxes from the network on this machine.
type Problem struct {
	// Fatal problems make Open or Acquire fail.
	Fatal bool
	What  string
	Hint  string
}

const maxInstance = 8

// retries are the pauses between attempts of background work.
var retries = retry.Pauses{First: 200 * time.Millisecond, Most: 30 * time.Second}

// withDefaults returns a complete, valid copy of the configuration.
func (c Config) withDefaults() (Config, error) {
	bad := func(format string, args ...any) (Config, error) {
		return Config{}, fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
	}
	if c.RunDir == "" {
		return bad("no run directory")
	}
	if c.Instance == "" {
		sum := sha256.Sum256([]byte(c.RunDir)) // It is unique for each instance on a machine.
		c.Instance = "rl" + hex.EncodeToString(sum[:3])
	}
	if !validInstance(c.Instance) {
		return bad("instance %.20q must be 1 to %d characters of [a-z0-9]", c.Instance, maxInstance)
	}
	if !c.Range.IsValid() {
		c.Range = netip.MustParsePrefix("10.200.0.0/16")
	}
	if !c.LinkRange.IsValid() {
		c.LinkRange = netip.MustParsePrefix("198.19.224.0/19")
	}
	for name, p := range map[string]netip.Prefix{"range": c.Range, "link range": c.LinkRange} {
		if !p.Addr().Is4() || p.Bits() > slash30.Bits || !policies.Denied(p) {
			return bad("%s %v must be an IPv4 prefix of at most /%d within a private range", name, p, slash30.Bits)
		}
	}
	if c.Range.Overlaps(c.LinkRange) {
		return bad("range %v and link range %v overlap", c.Range, c.LinkRange)
	}
	c.Range, c.LinkRange = c.Range.Masked(), c.LinkRange.Masked()
	switch {
	case c.Ahead == 0:
		c.Ahead = 4
	case c.Ahead < 0:
		c.Ahead = 0
	}
	if c.Nameservers == nil {
		c.Nameservers = []netip.Addr{netip.MustParseAddr("1.1.1.1"), netip.MustParseAddr("8.8.8.8")}
	}
	for _, a := range c.Nameservers {
		if !a.Is4() || a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() {
			return bad("name server %v must be an IPv4 address that is not loopback", a)
		}
	}
	var never netipx.IPSetBuilder // Without overlap, as sets want it.
	for _, p := range slices.Concat(policies.AlwaysDenied, c.Denied) {
		if !p.IsValid() || p.Addr().Is4In6() {
			return bad("%v is not a destination to deny", p)
		}
		never.AddPrefix(p)
	}
	set, err := never.IPSet()
	if err != nil {
		return bad("%v", err)
	}
	c.Denied = set.Prefixes()
	if c.OnRepair == nil {
		c.OnRepair = func(Repair) {}
	}
	if c.SlotBandwidth == 0 {
		c.SlotBandwidth = 125e6
	}
	if c.UplinkBandwidth == 0 {
		c.UplinkBandwidth = math.MaxUint64
	}
	if c.OnError == nil {
		c.OnError = func(error) {}
	}
	return c, nil
}

// prefix6 is what the IPv6 addresses of slots begin with.
func (c Config) prefix6() netip.Prefix { return ipv6.PrefixOf(c.Instance) }

func validInstance(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && len(s) <= maxInstance
}
