package network

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

	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/nft"
	"github.com/rundlet/rundlet/network/queues"
)

// Tracked flows take room in a table of the kernel that all of the host uses:
// when it is full, nothing on the host can connect. One limit, nf_conntrack_max,
// holds for the table of each namespace; by default it is 262144 from 4 GiB of
// memory, and 65536 from 1 GiB (nf_conntrack_init_start in the kernel).
const (
	// flowParts is how many slots with a full share the host's table holds.
	flowParts = 128
	// The bounds of a share. The lower one serves a browser or a package manager
	// with hundreds of connections. The kernel walks through a slot's flows for
	// each new one, so that the upper one keeps that below half a millisecond.
	minFlowShare, maxFlowShare = 256, 4096
	// flowRateParts is the share divided by the new flows per second that are
	// allowed for long: a flow that ends is not counted any more, but tracked for
	// closingTime.
	flowRateParts = 8
	// flowBuckets divide the bound for all slots, half of the table, by a hash of
	// the flow, for the same walk.
	flowBuckets = 256
	// downBurst, in bytes, comes to a slot faster than it may for long: 4 ms of
	// 1 Gbit/s would do for one of today's congestion windows, and this for many.
	downBurst = 4 << 20
	// flowSlots is how many slots can have flows at once: more than there are.
	flowSlots = 1 << 16

	// establishedTime is the minimum that RFC 5382, REQ-5, requires of a translator: 2
	// hours and 4 minutes, instead of 5 days.
	establishedTime = 7440 * time.Second
	// closingTime is the time of the kernel for a connection that was reset; here also
	// for one that was closed, instead of 2 minutes.
	closingTime = 10 * time.Second
)

// flowShares are how many flows are tracked at most for one slot, and for each
// bucket of all slots, and how many new ones a slot may have each second, and at
// once; and how many bytes a second may come from the internet to it.
type flowShares struct {
	slot, bucket, perSecond, burst uint32
	down                           uint64
}

// sharesOf divides a table of most entries.
func sharesOf(most uint64) flowShares {
	slot := uint32(min(max(most/flowParts, minFlowShare), maxFlowShare))
	return flowShares{
		slot: slot, perSecond: slot / flowRateParts, burst: slot,
		bucket: uint32(max(1, min(most/2/flowBuckets, maxFlowShare))),
	}
}

// readShares reads how large the kernel's table is. A kernel that says nothing
// loads the module later, with the smaller of its usual sizes.
func readShares() (flowShares, error) {
	b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_max")
	if errors.Is(err, os.ErrNotExist) {
		return sharesOf(65536), nil
	}
	if err != nil {
		return flowShares{}, err
	}
	most, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return sharesOf(most), err
}

// flowsPrefix begins the name of the table of shares, which has all that its
// rules depend on, and the version of the rules.
const flowsPrefix, flowsVersion = "rundlet_flows", 2

func (s flowShares) table() string {
	return fmt.Sprintf("%s_%d_%d_%d_%d_%d_%d", flowsPrefix, flowsVersion, s.slot, s.bucket, s.perSecond, s.burst, s.down)
}

// share adds the table of shares to a batch, unless it is there: its counts must
// outlive the daemon that made it. One that something else has changed is
// replaced. The caller holds mu.
func (r *nftRules) share(conn *nftables.Conn) error {
	shares, err := r.shares()
	if err != nil {
		return fmt.Errorf("read the size of the table of flows: %w", err)
	}
	shares.down = r.down
	found, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	keep := r.flows.Table == "" // As an earlier process left it.
	if !keep {
		if keep, err = r.flows.Whole(nil); err != nil {
			return err
		}
	}
	r.flows.Table = shares.table()
	for _, t := range found {
		if t.Name == shares.table() && keep {
			return nil
		}
		if strings.HasPrefix(t.Name, flowsPrefix) {
			conn.DelTable(t)
		}
	}
	return addFlowShares(conn, shares)
}

// addFlowShares adds the table that refuses a slot's new flows over its share.
// Packets of flows that are tracked already are not looked at.
func addFlowShares(conn *nftables.Conn, s flowShares) error {
	b := nft.Replace(conn, s.table())
	// The kernel takes elements away when they count nothing, or are not used.
	rates := b.Set(nftables.Set{
		Name: "rates", KeyType: nftables.TypeIFName, Dynamic: true, Size: flowSlots,
		HasTimeout: true, Timeout: 2 * flowRateParts * time.Second, // A burst is full again.
	}, nil)
	flows := b.Set(nftables.Set{Name: "flows", KeyType: nftables.TypeIFName, Dynamic: true, Size: flowSlots}, nil)
	all := b.Set(nftables.Set{Name: "all", KeyType: nftables.TypeInteger, Dynamic: true, Size: flowBuckets}, nil)
	incoming := []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}}
	b.Refusals(flowSlots)
	b.Chain("new",
		// Refused flows are counted until the kernel looks for them again, so they
		// must be few: the rate comes first.
		nft.Rule(incoming, nft.Each(rates, unix.NFT_DYNSET_OP_UPDATE, &expr.Limit{
			Type: expr.LimitTypePkts, Rate: uint64(s.perSecond), Unit: expr.LimitTimeSecond, Burst: s.burst, Over: true,
		}), nft.Refuse()),
		nft.Rule(incoming, nft.Each(flows, unix.NFT_DYNSET_OP_ADD, over(s.slot)), nft.Refuse()),
		nft.Rule(flowHash(hashSeed()), nft.Each(all, unix.NFT_DYNSET_OP_ADD, over(s.bucket)), nft.Refuse()),
	)
	down := b.Set(nftables.Set{
		Name: "down", KeyType: nftables.TypeIFName, Dynamic: true, Size: flowSlots, HasTimeout: true, Timeout: time.Minute,
	}, nil)
	outgoing := []expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}}
	// Behind the rules that say whether the packet may pass at all.
	priority := *nftables.ChainPriorityFilter + 10
	b.Hook("forward", nftables.ChainHookForward, priority, nftables.ChainPolicyAccept,
		nft.Rule(nft.OIF(uplinkRouter), queues.ByName(hashSeed())),
		nft.Rule(nft.OIF(uplinkRouter), nft.Unconfirmed(), nft.Jump("new")),
		nft.Rule(nft.IIF(uplinkRouter), outgoing, nft.Each(down, unix.NFT_DYNSET_OP_UPDATE, &expr.Limit{
			Type: expr.LimitTypePktBytes, Rate: s.down, Unit: expr.LimitTimeSecond, Burst: downBurst, Over: true,
		}), nft.Drop()),
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

// flowHash loads the bucket of a flow.
func flowHash(seed uint32) []expr.Any {
	return []expr.Any{
		// Both addresses, and behind them both ports.
		&expr.Payload{DestRegister: unix.NFT_REG32_00, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 8},
		&expr.Payload{DestRegister: unix.NFT_REG32_02, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 4},
		&expr.Hash{
			SourceRegister: unix.NFT_REG32_00, DestRegister: unix.NFT_REG32_00, Length: 12, Modulus: flowBuckets,
			Seed: seed, Type: expr.HashTypeJenkins,
		},
	}
}

// shortenTracking sets the times after which the router forgets silent flows.
func (r *router) shortenTracking() error {
	return namespace.In(r.ns, func() error {
		for key, value := range map[string]time.Duration{
			"established": establishedTime, "time_wait": closingTime,
		} {
			err := namespace.WriteSysctl("netfilter/nf_conntrack_tcp_timeout_"+key, strconv.Itoa(int(value.Seconds())))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// flowTimes is the object by which a table gives TCP flows the router's times.
func flowTimes(t *nftables.Table) *nftables.NamedObj {
	policy := expr.CtStatePolicyTimeout{
		expr.CtStateTCPESTABLISHED: uint32(establishedTime.Seconds()),
		expr.CtStateTCPTIMEWAIT:    uint32(closingTime.Seconds()),
	}
	return &nftables.NamedObj{
		Table: t, Name: "times", Type: nftables.ObjTypeCtTimeout,
		Obj: &expr.CtTimeout{L3Proto: unix.NFPROTO_IPV4, L4Proto: unix.IPPROTO_TCP, Policy: policy},
	}
}

func setTimes() []expr.Any {
	return []expr.Any{&expr.Objref{Type: int(nftables.ObjTypeCtTimeout), Name: "times"}}
}
