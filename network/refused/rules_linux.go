package refused

import (
	"github.com/google/nftables/expr"

	"github.com/rundlet/rundlet/network/nft"
)

const (
	// group is where the rules of Chain log to, in their namespace.
	group = 1
	// Of one slot Rate packets a second are logged, and Burst at once; of all, most.
	Rate, Burst, most = 5, 20, 200
)

// Chain is the chain that AddChain adds, to jump to.
const Chain = "refused"

// Log reports a packet to Watch. Not all kernels can.
func Log() []expr.Any { return nft.Log(group, snap) }

// AddChain adds the chain that refuses a packet of a slot, and logs it if there are not too many, and log is not
// empty. slots is how many there are at most. The table must have its refusals.
func AddChain(b *nft.Table, slots uint32, log []expr.Any) {
	if len(log) == 0 {
		b.Chain(Chain, nft.Refuse())
		return
	}
	limit := func(rate uint64, burst uint32) *expr.Limit {
		return &expr.Limit{Type: expr.LimitTypePkts, Rate: rate, Unit: expr.LimitTimeSecond, Burst: burst}
	}
	b.Chain(Chain,
		nft.Rule(
			b.LimitEach("refused", expr.MetaKeyIIFNAME, slots, limit(Rate, Burst)),
			[]expr.Any{limit(most, most)}, log,
		),
		nft.Refuse(),
	)
}
