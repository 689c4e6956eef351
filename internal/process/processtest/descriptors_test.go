//go:build linux

package processtest

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWithDescriptors(t *testing.T) {
	open := func() (n int, err error) {
		for ; n < 3; n++ {
			f, err := os.Open("/")
			if err != nil {
				return n, err
			}
			defer f.Close()
		}
		return n, nil
	}
	for want := range 2 {
		WithDescriptors(t, uint64(want), func() {
			if n, err := open(); n != want || !errors.Is(err, unix.EMFILE) {
				t.Errorf("opened %d, want %d: %v", n, want, err)
			}
		})
	}
	if _, err := open(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
