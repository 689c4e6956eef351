package node

import "testing"

func TestTheDiskOfAllSandboxesIsPromisedAFewTimesOnly(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		total, want int64
		overcommit  float64
	}{
		{100 * gib, 90 * gib, 1},   // 10 GiB are kept.
		{100 * gib, 900 * gib, 10}, // As by default.
		{10 * gib, 9 * gib, 1},     // A tenth of a small one.
		{0, 0, 10},
	} {
		o := DefaultCapacity
		o.Overcommit.Disk = c.overcommit
		if got := o.budget(c.total).DiskBytes; got != c.want {
			t.Errorf("%d bytes, %v times: %d, want %d", c.total, c.overcommit, got, c.want)
		}
	}
	if DefaultCapacity.Overcommit.Disk != 10 {
		t.Error("the default is not what the table says")
	}
}
