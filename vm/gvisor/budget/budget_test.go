package budget

import "testing"

// The limit of the host must be above all that the guard inside allows: it kills the whole
// sandbox, and the guard one process.
func TestTheHostAllowsMoreThanTheGuard(t *testing.T) {
	for _, memory := range []int64{64 * MiB, 512 * MiB, 8192 * MiB} {
		b := New(memory)
		if b.Memory != memory || b.Allowance != BaseOverhead || b.Reserve <= 0 || b.Reserve >= memory {
			t.Errorf("%d: %+v", memory, b)
		}
		if slack := b.HostLimit() - b.Memory - b.Allowance; slack != b.Slack() || slack < 64*MiB || slack < memory/8 {
			t.Errorf("%d: the slack is %d", memory, slack)
		}
	}
}
