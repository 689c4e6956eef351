//go:build linux

package control

import (
	"net"

	"gvisor.dev/gvisor/pkg/urpc"
)

// Network holds the interfaces of a sandbox: the arguments of SetNetworkArgs,
// with gVisor's names. The files are the sockets of FDBasedLinks, in their order; the owner
// closes them with Close. The sandbox has its own copies.
type Network struct {
	urpc.FilePayload
	LoopbackLinks []LoopbackLink
	FDBasedLinks  []FDBasedLink
	IsRestore     bool
}

// Close closes the sockets.
func (n *Network) Close() {
	for _, f := range n.Files {
		_ = f.Close()
	}
}

// LoopbackLink is a loopback interface.
type LoopbackLink struct {
	Name      string
	Addresses []IPWithPrefix
	Routes    []Route
}

// FDBasedLink is an interface that the sandbox serves by a packet socket on one of the host's.
type FDBasedLink struct {
	Name              string
	MTU               int
	Addresses         []IPWithPrefix
	Routes            []Route
	GSOMaxSize        uint32
	GVisorGSOEnabled  bool
	RXChecksumOffload bool
	LinkAddress       net.HardwareAddr
	QDisc             int
	Neighbors         []Neighbor
	NumChannels       int
}

// QDiscFIFO is the QDisc of gVisor's default.
const QDiscFIFO = 1

// IPWithPrefix is an address in its network.
type IPWithPrefix struct {
	Address   net.IP
	PrefixLen int
}

// Route leads to a network.
type Route struct {
	Destination net.IPNet
	Gateway     net.IP
	MTU         uint32
}

// Neighbor is a permanent entry of the table of neighbors.
type Neighbor struct {
	IP           net.IP
	HardwareAddr net.HardwareAddr
}

// Loopback returns the network of a sandbox that reaches nothing but itself.
func Loopback() *Network {
	v4, v6 := net.IPNet{IP: net.IPv4(127, 0, 0, 0), Mask: net.CIDRMask(8, 32)}, net.IPNet{IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)}
	return &Network{LoopbackLinks: []LoopbackLink{{
		Name:      "lo",
		Addresses: []IPWithPrefix{{Address: net.IP{127, 0, 0, 1}, PrefixLen: 8}, {Address: net.IPv6loopback, PrefixLen: 128}},
		Routes:    []Route{{Destination: v4}, {Destination: v6}},
	}}}
}
