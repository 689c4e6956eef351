package shares

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/nft"
	"github.com/rundlet/rundlet/network/queues"
)

// Tracked flows take room in a table of the kernel that all of the host uses:
// when it is full, nothing on the host can connect. One limit, nf_conntrack_max,
// holds for the table of each namespace; by default it is 262144 from 4 GiB of
// memory, and 65536 from 1 GiB (nf_conntrack_init_start in the kernel).
const (
	// parts is how many slots with a full share the host's table holds.
	parts = 128
	// The bounds of a share. The lower one serves a browser or a package manager
	// with hundreds of connections. The kernel walks through a slot's flows for
	// each new one, so that the upper one keeps that below half a millisecond.
	least, most = 256, 4096
	// rateParts is the share divided by the new flows per second that are
	// allowed for long: a flow that ends is not counted any more, but tracked for
	// ClosingTime.
	rateParts = 8
	// Buckets divide the bound for all slots, half of the table, by a hash of
	// the flow, for the same walk.
	Buckets = 256
	// DownBurst, in bytes, comes to a slot faster than it may for long: 4 ms of
	// 1 Gbit/s would do for one of today's congestion windows, and this for many.
	DownBurst = 4 << 20
	// Slots is how many slots can have flows at once: more than there are.
	Slots = 1 << 16

	// EstablishedTime is the minimum that RFC 5382, REQ-5, requires of a translator: 2
	// hours and 4 minutes, instead of 5 days.
	EstablishedTime = 7440 * time.Second
	// ClosingTime is the time of the kernel for a connection that was reset; here also
	// for one that was closed, instead of 2 minutes.
	ClosingTime = 10 * time.Second
)

// Shares are how many flows are tracked at most for one slot, and for each
// bucket of all slots, and how many new ones a slot may have each second, and at
// once; and how many bytes a second may come from the internet to it.
type Shares struct {
	Slot, Bucket, PerSecond, Burst uint32
	Down                           uint64
}

// Of divides a table of size entries.
func Of(size uint64) Shares {
	slot := uint32(min(max(size/parts, least), most))
	return Shares{
		Slot: slot, PerSecond: slot / rateParts, Burst: slot,
		Bucket: uint32(max(1, min(size/2/Buckets, most))),
	}
}

// Read reads how large the kernel's table is. A kernel that says nothing
// loads the module later, with the smaller of its usual sizes.
func Read() (Shares, error) {
	b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_max")
	if errors.Is(err, os.ErrNotExist) {
		return Of(65536), nil
	}
	if err != nil {
		return Shares{}, err
	}
	size, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return Of(size), err
}

// Prefix begins the name of the table of shares, which has all that its
// rules depend on, and the version of the rules.
const Prefix, version = "rundlet_flows", 5

// Table is the name of the table with these shares.
func (s Shares) Table() string {
	return fmt.Sprintf("%s_%d_%d_%d_%d_%d_%d", Prefix, version, s.Slot, s.Bucket, s.PerSecond, s.Burst, s.Down)
}

// Add adds the table that refuses a slot's new flows over its share, on the way to the link uplink and to servers of this
// namespace that they were redirected to. Packets of flows that are tracked already are not looked at. What the
// namespace sends for a slot itself has the slot's address as its mark, and another share as large.
func Add(conn *nftables.Conn, s Shares, uplink string) error {
	b := nft.Replace(conn, s.Table())
	// The kernel takes elements away when they count nothing, or are not used.
	all := b.Set(nftables.Set{Name: "all", KeyType: nftables.TypeInteger, Dynamic: true, Size: Buckets}, nil)
	seed := hashSeed()
	add := func(chain, suffix string, kind nftables.SetDatatype, key expr.MetaKey, refuse []expr.Any) {
		rates := b.Set(nftables.Set{
			Name: "rates" + suffix, KeyType: kind, Dynamic: true, Size: Slots,
			HasTimeout: true, Timeout: 2 * rateParts * time.Second, // A burst is full again.
		}, nil)
		flows := b.Set(nftables.Set{Name: "flows" + suffix, KeyType: kind, Dynamic: true, Size: Slots}, nil)
		slot := []expr.Any{&expr.Meta{Key: key, Register: 1}}
		b.Chain(chain,
			// Refused flows are counted until the kernel looks for them again, so they
			// must be few: the rate comes first.
			nft.Rule(slot, nft.Each(rates, unix.NFT_DYNSET_OP_UPDATE, &expr.Limit{
				Type: expr.LimitTypePkts, Rate: uint64(s.PerSecond), Unit: expr.LimitTimeSecond, Burst: s.Burst, Over: true,
			}), refuse),
			nft.Rule(slot, nft.Each(flows, unix.NFT_DYNSET_OP_ADD, over(s.Slot)), refuse),
			nft.Rule(nft.IsIPv4(), flowHash(seed), nft.Each(all, unix.NFT_DYNSET_OP_ADD, over(s.Bucket)), refuse),
			nft.Rule(nft.IsIPv6(), flowHash6(seed), nft.Each(all, unix.NFT_DYNSET_OP_ADD, over(s.Bucket)), refuse),
		)
	}
	b.Refusals(Slots)
	add("new", "", nftables.TypeIFName, expr.MetaKeyIIFNAME, nft.Refuse())
	add("new_for", "_for", nftables.TypeMark, expr.MetaKeyMARK, nft.Drop())
	comesDown := nft.Rule(b.LimitEach("down", expr.MetaKeyOIFNAME, Slots, &expr.Limit{
		Type: expr.LimitTypePktBytes, Rate: s.Down, Unit: expr.LimitTimeSecond, Burst: DownBurst, Over: true,
	}), nft.Drop())
	seed = hashSeed()
	// Behind the rules that say whether the packet may pass at all.
	priority := *nftables.ChainPriorityFilter + 10
	b.Hook("forward", nftables.ChainHookForward, priority, nftables.ChainPolicyAccept,
		nft.Rule(nft.OIF(uplink), nft.IsIPv4(), queues.BySource(seed)),
		nft.Rule(nft.OIF(uplink), nft.IsIPv6(), queues.BySource6(seed)), // A slot is in one class with both.
		nft.Rule(nft.OIF(uplink), nft.Unconfirmed(), nft.Jump("new")),
		nft.Rule(nft.IIF(uplink), comesDown),
	)
	b.Hook("input", nftables.ChainHookInput, priority, nftables.ChainPolicyAccept,
		nft.Rule(nft.IsDNAT(), nft.Unconfirmed(), nft.Jump("new")),
	)
	b.Hook("output", nftables.ChainHookOutput, priority, nftables.ChainPolicyAccept,
		nft.Rule(nft.OIF(uplink), queues.ByMark(seed)),
		nft.Rule(nft.OIF(uplink), nft.Unconfirmed(), nft.Jump("new_for")),
		nft.Rule(nft.IsDNAT(), comesDown),
	)
	return b.Err
}

// over matches the flow that is one too many.
func over(count uint32) expr.Any {
	return &expr.Connlimit{Count: count, Flags: expr.NFT_CONNLIMIT_F_INV}
}

// hashSeed is secret, so that no guest can choose its bucket.
func hashSeed() uint32 {
	var seed [4]byte
	rand.Read(seed[:])
	return binary.NativeEndian.Uint32(seed[:]) | 1 // The kernel takes 0 for none.
}

// flowHash loads the bucket of a flow of IPv4, and flowHash6 that of one of IPv6.
func flowHash(seed uint32) []expr.Any  { return hash(seed, 12, 8) }
func flowHash6(seed uint32) []expr.Any { return hash(seed, 8, 32) }

// hash is flowHash for addresses at an offset of the header that have a size.
func hash(seed, offset, size uint32) []expr.Any {
	return []expr.Any{
		// Both addresses, and behind them both ports.
		&expr.Payload{DestRegister: unix.NFT_REG32_00, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Payload{DestRegister: unix.NFT_REG32_00 + size/4, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 4},
		&expr.Hash{
			SourceRegister: unix.NFT_REG32_00, DestRegister: unix.NFT_REG32_00, Length: size + 4, Modulus: Buckets,
			Seed: seed, Type: expr.HashTypeJenkins,
		},
	}
}

// Times is the object by which a table gives TCP flows the router's times.
func Times(t *nftables.Table) *nftables.NamedObj {
	policy := expr.CtStatePolicyTimeout{
		expr.CtStateTCPESTABLISHED: uint32(EstablishedTime.Seconds()),
		expr.CtStateTCPTIMEWAIT:    uint32(ClosingTime.Seconds()),
	}
	return &nftables.NamedObj{
		Table: t, Name: "times", Type: nftables.ObjTypeCtTimeout,
		Obj: &expr.CtTimeout{L3Proto: unix.NFPROTO_IPV4, L4Proto: unix.IPPROTO_TCP, Policy: policy},
	}
}

func SetTimes() []expr.Any {
	return []expr.Any{&expr.Objref{Type: int(nftables.ObjTypeCtTimeout), Name: "times"}}
}
