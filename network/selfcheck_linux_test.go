package network

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/process/processtest"
)

func TestTheDaemonKnowsWhetherItCanHear(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	s := w.acquire(n, deny)
	ctx := context.Background()
	if err := errors.Join(n.CheckSelf(ctx), n.CheckPath(ctx, s.ID)); err != nil {
		t.Fatal(err)
	}
	// What drops every packet.
	conn, err := nftables.New(nftables.WithNetNSFd(int(n.router.ns.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "full"})
	chain := conn.AddChain(&nftables.Chain{
		Name: "out", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter,
	})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	brief, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := n.CheckSelf(brief); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with every packet dropped: %v", err)
	}
	conn.DelTable(table)
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := n.CheckSelf(ctx); err != nil {
		t.Error(err)
	}

	link, err := n.router.links.LinkByName(s.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.router.links.LinkSetDown(link); err != nil {
		t.Fatal(err)
	}
	if err := n.CheckPath(ctx, s.ID); err == nil {
		t.Error("the link is down, and the check succeeds")
	}
	if err := n.router.links.LinkDel(link); err != nil {
		t.Fatal(err)
	}
	var gone netlink.LinkNotFoundError
	if err := n.CheckPath(ctx, s.ID); !errors.As(err, &gone) {
		t.Errorf("without the link: %v", err)
	}
	if err := n.CheckPath(ctx, "s0"); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown slot: %v", err)
	}
}

// A guest that is stopped answers no ARP, which the kernel reports as no route:
// that alone must not count as the daemon's failure.
func TestAGuestThatDoesNotAnswerIsNotAMissingPath(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	s := w.acquire(n, deny)
	w.in(w.guest(s), func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetARPOff(link)
	})
	if err := n.CheckPath(context.Background(), s.ID); err != nil {
		t.Error(err)
	}
}

func TestWithoutDescriptorsTheSelfCheckSaysSo(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.OnError = func(error) {} // What goes on in the background lacks them too.
	n := w.open(cfg)
	var err error
	processtest.WithDescriptors(t, 0, func() { err = n.CheckSelf(context.Background()) })
	if !errors.Is(err, unix.EMFILE) {
		t.Errorf("%v, want EMFILE", err)
	}
}
