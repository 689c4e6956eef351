package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/rundlet/rundlet/client"
)

const (
	// attackers work at once: more than there are processors.
	attackers = 3
	// attackTime is the most that one attack takes.
	attackTime = 12 * time.Second
	// attackLive ends what an attack made and, on a busy machine, was not notified of.
	attackLive = 2 * attackTime
	// attackEnv is an attackOrder for the process that attacks.
	attackEnv = "RUNDLET_E2E_ATTACK"
)

// attackOrder is what the process that attacks is to do.
type attackOrder struct {
	URL, Key string
	Seed     uint64
	Long     time.Duration
}

// attackEvent is what the process that attacks reports of an attack.
type attackEvent struct {
	// What is "begun", "ended" or "error".
	What string `json:"what"`
	// Text is the name of the attack, or the error.
	Text string `json:"text"`
}

// startAttackers runs the attackers in a separate process and session, since the
// attackers of a node are on other machines: here they may not take the processor time of
// the client that is measured, nor hold up its goroutines. Wait ends with them; the end of
// ctx ends them.
func (h *hostile) startAttackers(ctx context.Context, long time.Duration, seed uint64) (wait func() error, err error) {
	order, err := json.Marshal(attackOrder{URL: h.evil.URL, Key: h.evil.Key, Seed: seed, Long: long})
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), stageEnv+"="+stageAttack, attackEnv+"="+string(order))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	events, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	heard := make(chan error, 1)
	go func() { heard <- h.hear(json.NewDecoder(events)) }()
	return func() error {
		if err := <-heard; err != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			return fmt.Errorf("the attackers' report: %w", err)
		}
		return cmd.Wait()
	}, nil
}

// hear takes what the attackers report until they have ended.
func (h *hostile) hear(events *json.Decoder) error {
	for {
		var e attackEvent
		if err := events.Decode(&e); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		h.take(e)
	}
}

// take counts an attack as in progress from its beginning to its end.
func (h *hostile) take(e attackEvent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch e.What {
	case "begun":
		h.active[e.Text]++
	case "ended":
		h.done[e.Text]++
		if h.active[e.Text]--; h.active[e.Text] == 0 {
			delete(h.active, e.Text)
		}
	default:
		h.errors = append(h.errors, e.Text)
	}
}

// runAttackers is the process that attacks.
func runAttackers() (int, error) {
	var order attackOrder
	if err := json.Unmarshal([]byte(os.Getenv(attackEnv)), &order); err != nil {
		return 1, err
	}
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	report := func(what, text string) {
		mu.Lock()
		defer mu.Unlock()
		if err := out.Encode(attackEvent{What: what, Text: text}); err != nil {
			os.Exit(1) // Its parent is gone.
		}
	}
	ctx, stop := context.WithTimeout(context.Background(), order.Long)
	defer stop()
	var wg sync.WaitGroup
	for i := range attackers {
		wg.Go(func() { attack(ctx, order, rand.New(rand.NewPCG(order.Seed, uint64(i))), report) })
	}
	wg.Wait()
	return 0, nil
}

// attack does one attack after the other until ctx ends.
func attack(ctx context.Context, order attackOrder, dice *rand.Rand, report func(what, text string)) {
	for ctx.Err() == nil {
		chosen := attacks[dice.IntN(len(attacks))]
		// The end of the time does not cut an attack short: what it made, it removes.
		until, cancel := context.WithTimeout(context.WithoutCancel(ctx), attackTime)
		a := &attacker{evil: client.API{URL: order.URL, Key: order.Key}, report: report, dice: dice}
		report("begun", chosen.name)
		chosen.do(a, until)
		cancel()
		a.clear()
		report("ended", chosen.name)
	}
}
