// Package budget says how much memory and how many tasks a sandbox may take of the host
// for its guest. The driver sets limits with it, and the sandbox process enforces them
// inside.
//
// It may import nothing; the driver and the sandbox's side of it import it.
package budget

// Budget bounds the memory of a sandbox, in bytes, and its tasks. Measured costs are in
// docs/reliability.md, by BenchmarkOverhead.
type Budget struct {
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
	MiB = 1 << 20
	// BaseOverhead is the memory of a sandbox process itself.
	BaseOverhead = 64 * MiB
	// ProcessCost is the cost of a guest process on the host beyond the
	// sentry's heap: its stub, with page tables.
	ProcessCost = 400 << 10
	// NewProcessCost is ProcessCost and its future share of the heap.
	NewProcessCost = 800 << 10
	// NewThreadCost is the future cost of a thread in the heap and on the host.
	NewThreadCost = 128 << 10
	// NewFileCost is the future cost of a file in the heap.
	NewFileCost = 4 << 10
	// TasksReserve is how many tasks are left when new processes are refused: for the
	// sentry itself, which ends without a thread, and for what is made until the next
	// count. A process of the guest has about three.
	TasksReserve = 192
)

func New(memory int64) Budget {
	return Budget{Memory: memory, Allowance: BaseOverhead, Reserve: memory / 16}
}

// HostLimit is the limit of the control group. It exceeds the use that the guard
// allows by Slack, since the guard may act late.
func (b Budget) HostLimit() int64 { return b.Memory + b.Allowance + b.Slack() }

// Slack is by how much a guest may be above its memory until it is brought back.
func (b Budget) Slack() int64 { return max(64*MiB, b.Memory/8) }
