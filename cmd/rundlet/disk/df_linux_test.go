package disk

import "testing"

func TestSizes(t *testing.T) {
	for bytes, want := range map[int64]string{0: "0.0 MB", 1_549_999: "1.5 MB", 12_345_600_000: "12345.6 MB"} {
		if got := megabytes(bytes); got != want {
			t.Errorf("%d bytes are %q, want %q", bytes, got, want)
		}
	}
}
