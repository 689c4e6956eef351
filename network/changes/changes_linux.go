package changes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	mnl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/nft"
)

const (
	// Interval is how soon a loss is noticed of which the kernel says nothing: look
	// should return no more.
	Interval = time.Second
	// deepEvery is how many looks after another everything is looked at, although
	// the kernel has reported no change.
	deepEvery = 30
	// share bounds the cost of looks while changes follow each other: after a
	// look that took a time, nothing is done for this many times as long, but at
	// least leastRest and never longer than Interval.
	share     = 9
	leastRest = 20 * time.Millisecond
)

// The multicast groups that a loss is reported by, from rtnetlink.h and
// nfnetlink.h.
var (
	routeGroups = []uint32{
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE,
		unix.RTNLGRP_IPV4_NETCONF, // Switches such as forwarding.
		unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_IPV6_NETCONF,
	}
	filterGroups = []uint32{unix.NFNLGRP_NFTABLES}
)

// ErrNotFollowed: the kernel does not report changes any more.
var ErrNotFollowed = errors.New("the subscription to changes ended")

// Depth says what has changed, so that what costs more is looked at there: in which namespaces, and whether another program has
// changed a packet filter, whatever its generations say.
type Depth struct{ Host, Router, Filter bool }

// Everything is looked at first, now and then, and when reports were lost.
var Everything = Depth{Host: true, Router: true, Filter: true}

// Source says whose changes are watched.
type Source struct {
	// Router and Host are network namespaces.
	Router, Host *os.File
	// Self is a process whose changes of a packet filter need no look. In a container the
	// kernel may know it by another number: then there are more looks than need be.
	Self int
	// ChangedBy gets the program that has changed a packet filter. It must not block.
	ChangedBy func(program string)
}

// Watch calls look at once, after each change that the kernel reports, and after the
// time that look has returned, until ctx ends or the kernel's reports do
// (ErrNotFollowed). It can be called again.
func Watch(ctx context.Context, source Source, look func(Depth) (again time.Duration)) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	w := newNews()
	readers, err := w.follow(ctx, source)
	if err != nil {
		return err
	}
	defer readers.Wait()
	defer stop()
	return watch(ctx, w, look)
}

// news collects the reports of the kernel since the last look. Safe for concurrent
// use.
type news struct {
	wake chan struct{} // One is waiting at most.

	mu     sync.Mutex
	at     Depth
	failed error
}

func newNews() *news { return &news{wake: make(chan struct{}, 1)} }

func (w *news) add(change func(*Depth)) {
	w.mu.Lock()
	change(&w.at)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// fail ends the watch.
func (w *news) fail(err error) {
	w.mu.Lock()
	w.failed = errors.Join(w.failed, err)
	w.mu.Unlock()
	w.add(func(*Depth) {})
}

// take returns the collected reports, and begins anew.
func (w *news) take() (at Depth, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, w.at = w.at, Depth{}
	return at, w.failed
}

// watch calls look when there are news, and after the time that it has returned.
func watch(ctx context.Context, w *news, look func(Depth) (again time.Duration)) error {
	at := Everything // What happened before is not reported.
	for round := 1; ; round++ {
		began := time.Now()
		again := look(at)
		ended := time.Now()
		rest := min(max(share*ended.Sub(began), leastRest), Interval)
		// Without news there is one wake-up for a look.
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		case <-time.After(max(again, rest)):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rest - time.Since(ended)):
		}
		select {
		case <-w.wake: // It came during the rest, and is taken now.
		default:
		}
		var err error
		if at, err = w.take(); err != nil {
			return err
		}
		if round%deepEvery == 0 {
			at = Everything
		}
	}
}

// follow adds the kernel's reports of both namespaces until ctx ends.
func (w *news) follow(ctx context.Context, source Source) (*sync.WaitGroup, error) {
	readers := &sync.WaitGroup{}
	var conns []*mnl.Conn
	for _, place := range []struct {
		ns   *os.File
		name string
		mark func(*Depth)
	}{
		{source.Router, "router", func(at *Depth) { at.Router = true }},
		{source.Host, "host", func(at *Depth) { at.Host = true }},
	} {
		for family, groups := range map[int][]uint32{unix.NETLINK_ROUTE: routeGroups, unix.NETLINK_NETFILTER: filterGroups} {
			c, err := namespace.DialNetlink(place.ns, family, groups...)
			if err != nil {
				for _, c := range conns {
					c.Close()
				}
				return nil, fmt.Errorf("follow changes of the %s: %w", place.name, err)
			}
			conns = append(conns, c)
			readers.Go(func() { w.read(ctx, c, family, place.mark, source) })
		}
	}
	context.AfterFunc(ctx, func() {
		for _, c := range conns {
			c.Close()
		}
	})
	return readers, nil
}

// read adds the reports of one subscription.
func (w *news) read(ctx context.Context, c *mnl.Conn, family int, mark func(*Depth), source Source) {
	for {
		messages, err := c.Receive()
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, unix.ENOBUFS): // Reports were lost: anything may have changed.
			w.add(func(at *Depth) { *at = Everything })
			continue
		case err != nil:
			w.fail(fmt.Errorf("%w: %w", ErrNotFollowed, err))
			return
		}
		if family == unix.NETLINK_ROUTE {
			w.add(mark)
			continue
		}
		for _, m := range messages {
			if pid, name, ok := nft.NewGeneration(m); ok && pid != source.Self {
				source.ChangedBy(fmt.Sprintf("%s (pid %d)", name, pid))
				w.add(func(at *Depth) { at.Filter = true })
			}
		}
	}
}
