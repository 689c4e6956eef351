package gvisor

// guestBudget is what a sandbox may use, in bytes. Measured costs are in
// docs/reliability.md, by BenchmarkOverhead.
type guestBudget struct {
	// Memory is the guest's: what it sees as its total.
	Memory int64
	// Allowance is what the sandbox process itself may use for free; what it
	// needs beyond that counts against Memory.
	Allowance int64
	// Reserve of Memory is left when new processes and files are refused, for
	// what exists already.
	Reserve int64
	// Tasks is how many processes and threads the sandbox may have on the host; 0
	// means no limit.
	Tasks int64
}

const (
	mib = 1 << 20
	// baseOverhead is what a sandbox process needs for itself.
	baseOverhead = 64 * mib
	// processCost is what a process of the guest costs on the host beyond the
	// sentry's heap: its stub, with page tables.
	processCost = 400 << 10
	// newProcessCost is that and what it will have in the heap.
	newProcessCost = 800 << 10
	// newThreadCost is what a thread will have in the heap and on the host.
	newThreadCost = 128 << 10
	// newFileCost is what a file will have in the heap.
	newFileCost = 4 << 10
	// tasksReserve is how many tasks are left when new processes are refused: for the
	// sentry itself, which ends without a thread, and for what is made until the next
	// count. A process of the guest has about three.
	tasksReserve = 192
)

func newGuestBudget(memory int64) guestBudget {
	return guestBudget{Memory: memory, Allowance: baseOverhead, Reserve: memory / 16}
}

// hostLimit is the limit of the control group. It is above everything that the
// guard lets happen, by what it may be late.
func (b guestBudget) hostLimit() int64 { return b.Memory + b.Allowance + b.slack() }

// slack is by how much a guest may be above its memory until it is brought back.
func (b guestBudget) slack() int64 { return max(64*mib, b.Memory/8) }
