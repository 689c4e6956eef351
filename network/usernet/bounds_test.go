package usernet

import (
	"log/slog"
	"strings"
	"testing"
)

func TestBuffersAreBoundedAndReturned(t *testing.T) {
	const total = 256 << 20
	b := &buffers{left: total}
	var sizes []int
	sum := 0
	for range 4096 {
		size := b.take()
		if size < leastBuffer || size > mostBuffer || len(sizes) > 0 && size > sizes[len(sizes)-1] {
			t.Fatalf("connection %d gets %d bytes", len(sizes), size)
		}
		sizes = append(sizes, size)
		sum += 4 * size
	}
	if sizes[0] != mostBuffer || sum > total+4*4096*leastBuffer {
		t.Errorf("the first gets %d bytes, all %d", sizes[0], sum)
	}
	for _, size := range sizes {
		b.give(size)
	}
	if b.left != total {
		t.Errorf("%d bytes are left", b.left)
	}
}

func TestABoundIsLoggedOnce(t *testing.T) {
	var log strings.Builder
	b := &bound{name: "things", most: 2, log: slog.New(slog.NewTextHandler(&log, nil))}
	got := 0
	for range 5 {
		if b.take() {
			got++
		}
	}
	if got != 2 || strings.Count(log.String(), "bound=things most=2") != 1 {
		t.Errorf("%d taken, log %q", got, log.String())
	}
	b.give()
	if !b.take() || b.take() {
		t.Error("what was given is not there once")
	}
}

func TestDefaultsFollowTheLimitOfDescriptors(t *testing.T) {
	for limit, want := range map[uint64][3]int{1 << 20: {4096, 4096, 1024}, 1024: {512, 256, 512}, 0: {1, 1, 1}} {
		cfg, err := Config{}.withDefaults(limit)
		if err != nil || [3]int{cfg.Connections, cfg.Flows, cfg.Dials} != want {
			t.Errorf("%d descriptors: %d connections, %d flows, %d dials, %v", limit, cfg.Connections, cfg.Flows, cfg.Dials, err)
		}
	}
}
