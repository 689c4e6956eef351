package gvisor

// guestBudget bounds the memory of a sandbox, in bytes, and its tasks. Measured costs are in
// docs/reliability.md, by BenchmarkOverhead.
type guestBudget struct {
	// Memory is the guest's: it sees this as its total.
	Memory int64
	// Allowance is the memory that the sandbox process itself may use for free; its
	// use beyond that counts against Memory.
	Allowance int64
	// Reserve of Memory is left when new processes and files are refused, for those
	// that exist already.
	Reserve int64
	// Tasks is how many processes and threads the sandbox may have on the host; 0
	// means no limit.
	Tasks int64
}

const (
	mib = 1 << 20
	// baseOverhead is the memory of a sandbox process itself.
	baseOverhead = 64 * mib
	// processCost is the cost of a guest process on the host beyond the
	// sentry's heap: its stub, with page tables.
	processCost = 400 << 10
	// newProcessCost is processCost and its future share of the heap.
	newProcessCost = 800 << 10
	// newThreadCost is the future cost of a thread in the heap and on the host.
	newThreadCost = 128 << 10
	// newFileCost is the future cost of a file in the heap.
	newFileCost = 4 << 10
	// tasksReserve is how many tasks are left when new processes are refused: for the
	// sentry itself, which ends without a thread, and for what is made until the next
	// count. A process of the guest has about three.
	tasksReserve = 192
)

func newGuestBudget(memory int64) guestBudget {
	return guestBudget{Memory: memory, Allowance: baseOverhead, Reserve: memory / 16}
}

// hostLimit is the limit of the control group. It exceeds the use that the guard
// allows by slack, since the guard may act late.
func (b guestBudget) hostLimit() int64 { return b.Memory + b.Allowance + b.slack() }

// slack is by how much a guest may be above its memory until it is brought back.
func (b guestBudget) slack() int64 { return max(64*mib, b.Memory/8) }
