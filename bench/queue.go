package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rundlet/rundlet/bench/cost"
	"github.com/rundlet/rundlet/client"
)

// place is one create that waits, in order of its coming.
type place struct {
	key string
	n   int
}

// arrived is a create that came to its end.
type arrived struct {
	place
	sb  client.Sandbox
	at  time.Time
	err error
}

// queue fills the room, lets more wait, sees that what a key asks for beyond its
// share is refused, and makes room for one after the other.
func queue(ctx context.Context, m *measurement) (err error) {
	// A key may have as many places as it leaves free: with so many, the first one
	// has its share when all wait.
	places := m.plan.Waiting + m.plan.Waiting - m.plan.Waiting/3
	if err := m.open(ctx, Config{Sandboxes: m.plan.Room, Pending: places}); err != nil {
		return err
	}
	keys := map[string]client.API{"a": m.server.API}
	second, err := m.server.NewKey(ctx, "b")
	if err != nil {
		return err
	}
	keys["b"] = client.API{HTTP: m.server.API.HTTP, URL: m.server.API.URL, Key: second}
	var live []client.Sandbox
	defer func() { m.killAll(ctx, live, &err) }()
	for range m.plan.Room {
		sb, err := m.create(ctx)
		if err != nil {
			return err
		}
		live = append(live, sb)
	}
	// The first key asks twice as often.
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan arrived, m.plan.Waiting)
	left := 0
	defer func() {
		stop()
		for range left {
			if a := <-done; a.err == nil {
				live = append(live, a.sb)
			}
		}
	}()
	count := map[string]int{}
	for i := range m.plan.Waiting {
		p := place{key: "a"}
		if i%3 == 2 {
			p.key = "b"
		}
		p.n = count[p.key]
		count[p.key]++
		left++
		go func() {
			sb, err := keys[p.key].Create(waiting, "base", sandboxTimeout)
			done <- arrived{p, sb, time.Now(), err}
		}()
		if err := m.await(ctx, "the create waits", func(l Load) bool { return l.Pending > i }); err != nil {
			return err
		}
	}
	if err := m.refused(ctx); err != nil {
		return err
	}
	r := m.Compare("room is made to ready (REST)", "restore by library", 0)
	var order []place
	for range m.plan.Waiting {
		bare, _, err := m.bareLife(ctx, m.server.Bare.LibraryRestore)
		if err != nil {
			return err
		}
		oldest := live[0]
		live = live[1:]
		if m.kill(ctx, oldest.ID, &err); err != nil {
			return err
		}
		begin := time.Now()
		a := <-done
		left--
		if a.err != nil {
			return fmt.Errorf("a create that waited: %w", a.err)
		}
		live = append(live, a.sb)
		order = append(order, a.place)
		m.Bare(r, bare)
		m.Ours(r, cost.WallOnly(a.at.Sub(begin)))
	}
	return m.judgeOrder(order)
}

// refused sends what finds the key's share of the queue taken.
func (m *measurement) refused(ctx context.Context) error {
	r := m.Compare("refusal beyond a key's share of the queue (REST)", "", 0)
	for range m.plan.Excess {
		begin := m.now()
		sb, err := m.create(ctx)
		if err == nil {
			m.kill(ctx, sb.ID, &err)
			return errors.Join(errors.New("a create was served that should have been refused"), err)
		}
		m.Ours(r, m.since(begin))
		var refusal *client.Error
		if !errors.As(err, &refusal) || refusal.Code != http.StatusTooManyRequests || refusal.RetryAfter <= 0 {
			return fmt.Errorf("not refused as a full queue refuses, with 429 and Retry-After: %w", err)
		}
	}
	m.Fact("%d of %d creates beyond %d sandboxes and %d that waited were refused with 429 and Retry-After", m.plan.Excess, m.plan.Excess, m.plan.Room, m.plan.Waiting)
	return nil
}

// judgeOrder reports in which order waiting requests were served, and fails if
// one was overtaken by another of its key.
func (m *measurement) judgeOrder(order []place) error {
	var served []string
	byKey := map[string][]int{}
	for _, p := range order {
		served = append(served, fmt.Sprint(p.key, p.n+1))
		byKey[p.key] = append(byKey[p.key], p.n)
	}
	m.Fact("served: %s", strings.Join(served, " "))
	for key, numbers := range byKey {
		if !slices.IsSorted(numbers) {
			return fmt.Errorf("key %s was not served in order of arrival: %v", key, numbers)
		}
	}
	m.Fact("each key was served in order of arrival")
	return nil
}
