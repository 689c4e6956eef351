package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

const (
	// daemonMemory bounds what the daemon may hold under attack. It has some
	// 70 MiB when nothing happens.
	daemonMemory = 512 << 20
	// goodRequest is the most that a request of the good client may take: an
	// SDK's own default.
	goodRequest = 60 * time.Second
)

// hostile is a node with clients and guests that attack it, and one client that
// does not.
type hostile struct {
	srv        *server
	good, evil client.API

	mu sync.Mutex
	// done counts the attacks by name, and active those in progress.
	done, active map[string]int
	// beside has the waits of the good client's commands by the attacks that were in
	// progress when they began.
	beside map[string][]time.Duration
	errors []string // what went wrong for the good client
}

// TestTheHostileHour lets guests, clients without a key and a client with one
// attack a node at random, each in a way in which the node was once hurt, and
// looks at a client beside them: it gets no error. The long form takes an hour,
// the short one a minute. How long the client waits is a figure: on a busy
// machine that is the scheduler's choice.
func TestTheHostileHour(t *testing.T) {
	calm, long := 10*time.Second, 50*time.Second
	if *soak {
		calm, long = 3*time.Minute, 57*time.Minute
	}
	if *duration > 0 { // To look for what is slow, without waiting for an hour.
		calm, long = *duration/10, *duration-*duration/10
	}
	// Room for 20: attackers are to fill it.
	srv, api, dir := newServer(t, "--max-sandboxes=20")
	makeInternet(t, func() { hold(t, ":9") })
	h := &hostile{srv: srv, good: api, evil: client.API{URL: api.URL, Key: newKey(t, dir)},
		done: map[string]int{}, active: map[string]int{}, beside: map[string][]time.Duration{}}
	preferSession(t)
	h.goodRound(t.Context(), waits{}) // what stays once there was a sandbox
	before := takeCensus(t, dir)

	calmly := h.behave(t.Context(), calm)
	if len(calmly["run"]) == 0 {
		t.Fatal("the good client did nothing")
	}
	seed := rand.Uint64()
	memory := h.watchMemory(t)
	wait, err := h.startAttackers(t.Context(), long, seed)
	if err != nil {
		t.Fatal(err)
	}
	attacked := h.behave(t.Context(), long)
	if err := wait(); err != nil {
		t.Error(err)
	}
	highest := memory()

	for _, e := range h.errors {
		t.Errorf("the good client: %s", e)
	}
	if highest > daemonMemory {
		t.Errorf("the daemon had %d MiB, want %d at most", highest>>20, daemonMemory>>20)
	}
	for _, a := range attacks {
		if *soak && h.done[a.name] == 0 {
			t.Errorf("no attack of %s in an hour", a.name)
		}
	}
	figures := map[string]any{"seed": seed, "attacks": h.done, "daemon_mib": highest >> 20}
	for _, step := range slices.Sorted(maps.Keys(calmly)) {
		figures[step] = fmt.Sprintf("p50 %v -> %v, p99 %v -> %v (%d, %d)", ms(at(calmly[step], 50)), ms(at(attacked[step], 50)),
			ms(at(calmly[step], 99)), ms(at(attacked[step], 99)), len(calmly[step]), len(attacked[step]))
	}
	beside := map[string]string{}
	for name, waits := range h.beside {
		beside[name] = fmt.Sprintf("p50 %v, p99 %v (%d)", ms(at(waits, 50)), ms(at(waits, 99)), len(waits))
	}
	figures["run beside"] = beside
	record(t, "hostile", figures)

	// What was made for a client that went away ends by its timeout.
	awaitFor(t, attackLive+settle, func() (left []string, err error) {
		list, err := h.evil.List(t.Context())
		for _, sb := range list {
			left = append(left, sb.ID+" is left")
		}
		return left, err
	})
	// The way to the internet stays until the daemon ends.
	before["links"]++
	before["files in run"] += 2
	before.await(t, dir)
	if t.Failed() {
		t.Logf("seed %d\n%s", seed, srv.troubles())
	}
	srv.stop(t)
}

// preferSession lets this session have a processor before others, where the kernel
// divides them between sessions: the client that is measured is on another machine, where
// the node takes no processor.
func preferSession(t *testing.T) {
	t.Helper()
	const file = "/proc/self/autogroup"
	text, err := os.ReadFile(file) // "/autogroup-25 nice 0"
	fields := strings.Fields(string(text))
	if err != nil || len(fields) != 3 || os.WriteFile(file, []byte("-15"), 0) != nil {
		t.Log("the client shares its processors with the node")
		return
	}
	t.Cleanup(func() { _ = os.WriteFile(file, []byte(fields[2]), 0) })
}

// waits are how long each kind of step of the good client took.
type waits map[string][]time.Duration

func at(d []time.Duration, percent int) time.Duration {
	if len(d) == 0 {
		return 0
	}
	d = slices.Sorted(slices.Values(d))
	return d[(len(d)-1)*percent/100]
}

// behave goes through rounds of an honest session until the time is up.
func (h *hostile) behave(ctx context.Context, long time.Duration) waits {
	w := waits{}
	for begin := time.Now(); time.Since(begin) < long; {
		h.goodRound(ctx, w)
	}
	return w
}

// goodRound is one session. Each error of it is kept.
func (h *hostile) goodRound(ctx context.Context, w waits) {
	var sb client.Sandbox
	text := strconv.FormatUint(rand.Uint64(), 36)
	echo := func(ctx context.Context) error { return says(ctx, h.good, sb, "echo "+text, text+"\n") }
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"create", func(ctx context.Context) (err error) {
			sb, err = h.good.Create(ctx, "base", live)
			return err
		}},
		{"run", echo}, {"run", echo}, {"run", echo}, {"run", echo},
		{"write", func(ctx context.Context) error { return upload(ctx, h.good, sb, "/home/user/f", text) }},
		{"pause", func(ctx context.Context) error { return h.good.Pause(ctx, sb.ID, true) }},
		{"connect", func(ctx context.Context) error {
			_, _, err := h.good.Connect(ctx, sb.ID, live)
			return err
		}},
		{"run", func(ctx context.Context) error { return says(ctx, h.good, sb, "cat ~/f", text) }},
		{"run", echo}, {"run", echo}, {"run", echo},
		{"list", func(ctx context.Context) error {
			_, err := h.good.List(ctx)
			return err
		}},
		{"kill", func(ctx context.Context) error { return h.good.Kill(ctx, sb.ID) }},
	}
	for _, step := range steps {
		ctx, cancel := context.WithTimeout(ctx, goodRequest)
		beside := h.attacksNow()
		begin := time.Now()
		err := step.do(ctx)
		cancel()
		took := time.Since(begin)
		w[step.name] = append(w[step.name], took)
		if step.name == "run" {
			h.note(beside, took)
		}
		if err == nil {
			continue
		}
		h.mu.Lock()
		h.errors = append(h.errors, fmt.Sprintf("%s of %s at %s: %v", step.name, sb.ID, begin.Format(time.TimeOnly), err))
		h.mu.Unlock()
		if sb.ID == "" {
			return
		}
	}
}

// attacksNow returns the names of the attacks in progress.
func (h *hostile) attacksNow() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.active))
}

// note keeps how long a command took beside attacks.
func (h *hostile) note(beside []string, took time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range beside {
		h.beside[name] = append(h.beside[name], took)
	}
}

// watchMemory samples the daemon's memory until the function it returns is
// called, which returns the most in bytes.
func (h *hostile) watchMemory(t *testing.T) (stop func() int) {
	t.Helper()
	status := fmt.Sprintf("/proc/%d/status", h.srv.cmd.Process.Pid)
	done, highest := make(chan struct{}), make(chan int)
	go func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		most := 0
		for {
			select {
			case <-done:
				highest <- most
				return
			case <-tick.C:
			}
			text, err := os.ReadFile(status)
			if err != nil {
				continue
			}
			_, after, _ := strings.Cut(string(text), "VmRSS:")
			if fields := strings.Fields(after); len(fields) > 0 {
				kib, _ := strconv.Atoi(fields[0])
				most = max(most, kib<<10)
			}
		}
	}()
	return func() int {
		close(done)
		return <-highest
	}
}
