package network

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// The pause after a repair grows with each that follows soon, so that two
	// programs that undo each other's work do not keep the machine busy. The first
	// ones are short: what reloads a firewall often does it in several steps. The
	// longest costs a processor some percent, and what is lost is repaired within
	// two seconds all the same.
	firstPause = 100 * time.Millisecond
	mostPause  = 1600 * time.Millisecond
)

// repairs is what was lost and repaired. Safe for concurrent use.
type repairs struct {
	look sync.Mutex // Held while the whole network is looked at.

	mu     sync.Mutex
	counts map[string]uint64
	broken []string // What the last look found lost and did not repair.
	// last is the end of the last repair, and pause how long the next one waits
	// from then.
	last  time.Time
	pause time.Duration
	told  string // The last report, which is not repeated.
	by    string // The program that last changed the packet filter.
}

// wait is how long the next repair has to wait, if it is above zero.
func (r *repairs) wait(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last.Add(r.pause).Sub(now)
}

// note takes in what a look found, and what became of it. It returns the report
// that is due, if one is.
func (r *repairs) note(now time.Time, lost []string, mended bool, err error) (report Repair, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(lost) == 0 && err == nil {
		if r.broken != nil {
			r.broken, r.told = nil, ""
		}
		return Repair{}, false
	}
	r.broken = nil
	if !mended || err != nil {
		r.broken = lost
		if lost == nil {
			r.broken = []string{LostUnknown}
		}
	}
	if mended {
		for _, what := range lost {
			if err == nil {
				r.count(what)
			}
		}
		if now.Sub(r.last) > 2*mostPause {
			r.pause, r.told = 0, ""
		}
		r.last, r.pause = now, min(max(firstPause, 2*r.pause), mostPause)
	}
	report = Repair{Lost: lost, Err: err}
	if slices.Contains(lost, LostHostRules) || slices.Contains(lost, LostRouterRules) {
		report.By = r.by
	}
	if r.pause == mostPause { // Another program undoes the repairs.
		report.Next = r.last.Add(r.pause).Sub(now)
	}
	key := fmt.Sprint(lost, err, report.Next > 0)
	due, r.told = key != r.told, key
	return report, due
}

func (r *repairs) count(what string) {
	if r.counts == nil {
		r.counts = map[string]uint64{}
	}
	r.counts[what]++
}

func (r *repairs) changedBy(program string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.by = program
}

// Repairs counts the repaired losses since Open, by kind: the map has all Losses.
func (n *Network) Repairs() map[string]uint64 {
	n.repairs.mu.Lock()
	defer n.repairs.mu.Unlock()
	out := map[string]uint64{}
	for _, what := range Losses {
		out[what] = n.repairs.counts[what]
	}
	return out
}

// Broken returns the losses that are not repaired at present; nil if there are none.
// A loss lets guests reach nothing new. Broken does not block.
func (n *Network) Broken() []string {
	n.repairs.mu.Lock()
	defer n.repairs.mu.Unlock()
	return slices.Clone(n.repairs.broken)
}

// depth says which namespace has reported changes, so that what costs more is
// looked at there.
type depth struct{ host, router bool }

// look checks all parts of the network, in both namespaces, and repairs the wrong
// or missing ones, unless it did so a moment ago. A later look continues:
// again is when.
func (n *Network) look(at depth) (again time.Duration) {
	if n.enter() != nil {
		return lookEvery
	}
	defer n.life.RUnlock()
	n.repairs.look.Lock()
	defer n.repairs.look.Unlock()
	if n.Broken() != nil {
		at = depth{host: true, router: true}
	}
	mend := n.repairs.wait(time.Now()) <= 0
	lost, err := n.settle(at, mend)
	n.report(lost, mend, err)
	if n.Broken() == nil {
		return lookEvery
	}
	return min(n.repairs.wait(time.Now()), lookEvery)
}

func (n *Network) report(lost []string, mended bool, err error) {
	if report, due := n.repairs.note(time.Now(), lost, mended, err); due {
		n.cfg.OnRepair(report)
	}
}

// settle makes everything that all slots share what it should be; see the parts.
func (n *Network) settle(at depth, mend bool) (lost []string, err error) {
	// One part that fails keeps none of the others from its repair.
	add := func(what []string, e error) { lost, err = append(lost, what...), errors.Join(err, e) }
	add(n.router.settle(n.cfg.Range, mend))
	if was, e := n.rules.settle(mend); was || e != nil {
		add([]string{LostRouterRules}, e)
	}
	add(n.uplink.lookAfter(at.host, mend))
	if at.router {
		add(n.settleSlots(mend))
	}
	slices.Sort(lost)
	return slices.Compact(lost), err
}

// lookAfter is settle for an uplink that was made.
func (u *uplink) lookAfter(deep, mend bool) (lost []string, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.up {
		return nil, nil // create looks for itself.
	}
	return u.settle(deep, mend)
}

// changeRules changes the rules of slots. If the table that they are in is lost
// it is made anew at once: requests for a slot do not wait for the watch.
func (n *Network) changeRules(change func() error) error {
	err := change()
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	was, e := n.rules.settle(true)
	if was {
		n.report([]string{LostRouterRules}, true, e)
	}
	if e != nil {
		return errors.Join(err, e)
	}
	return change()
}

// settleSlots gives the links of slots their addresses again. A link that is
// gone took the guest's end with it: a free slot is destroyed, and
// another made; one in use has no network until its sandbox is paused and
// resumed.
func (n *Network) settleSlots(mend bool) (lost []string, err error) {
	subnets, err := n.router.slots()
	if err != nil {
		return nil, err
	}
	links, err := n.router.links.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list router links: %w", err)
	}
	down := map[string]bool{}
	for _, l := range links {
		down[l.Attrs().Name] = l.Attrs().RawFlags&unix.IFF_UP == 0
	}
	n.mu.Lock()
	var odd []*slot
	for _, s := range n.slots {
		if (s.state == slotLeased || slices.Contains(n.ready, s)) && (subnets[s.id] != s.subnet || down[s.id]) && !s.cut {
			odd = append(odd, s)
		}
	}
	n.mu.Unlock()
	for _, s := range odd {
		what, e := n.settleSlot(s, mend)
		if what != "" {
			lost = append(lost, what)
		}
		err = errors.Join(err, e)
	}
	return lost, err
}

func (n *Network) settleSlot(s *slot, mend bool) (lost string, err error) {
	s.mu.Lock() // And so it is not being freed.
	defer s.mu.Unlock()
	if s.gone {
		return "", nil
	}
	_, err = n.router.links.LinkByName(s.id)
	if linkGone(err) {
		if !mend {
			return LostSlotLink, nil
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		s.cut = true
		if i := slices.Index(n.ready, s); i >= 0 {
			n.ready = slices.Delete(n.ready, i, i+1)
			s.state = slotRetired
			n.reap()
			n.kick()
		}
		return LostSlotLink, nil
	}
	if err != nil {
		return "", err
	}
	was, err := settleAddress(n.router.links, s.id, near(s.subnet), 0, mend)
	if was {
		return LostSlotLink, err
	}
	return "", err
}
