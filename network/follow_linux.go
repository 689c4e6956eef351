package network

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// subscribe asks for the changes of the daemon namespace's routes until done
// is closed.
func (u *uplink) subscribe(done <-chan struct{}) (<-chan netlink.RouteUpdate, error) {
	ns := netns.NsHandle(u.host.Fd())
	changes := make(chan netlink.RouteUpdate, 64)
	err := netlink.RouteSubscribeWithOptions(changes, done, netlink.RouteSubscribeOptions{
		Namespace: &ns,
		// The socket is closed when the subscription ends, which is no error.
		ErrorCallback: func(error) {},
	})
	if err != nil {
		return nil, fmt.Errorf("follow the routes of the daemon's network namespace: %w", err)
	}
	return changes, nil
}

// watch follows the host's way to the internet until ctx ends: a machine that
// got its network after the daemon started, or changed from a cable to a radio,
// has another outside interface, where answers come in and must be forwarded.
func (u *uplink) watch(ctx context.Context, onError func(error)) {
	changes, err := u.subscribe(ctx.Done())
	if err != nil {
		onError(fmt.Errorf("network: %w", err))
		return
	}
	for {
		if err := u.follow(); err != nil {
			onError(fmt.Errorf("network: follow the way to the internet: %w", err))
		}
		select {
		case <-ctx.Done():
			return
		case _, ok := <-changes:
			if !ok {
				return
			}
		}
	}
}

// follow lets the answers in by the interfaces that lead outside now. It adds
// to what is recorded and takes nothing away: remove restores them all.
func (u *uplink) follow() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.up {
		return nil // create looks for itself.
	}
	outside, err := u.outside()
	if err != nil {
		return err
	}
	rec, ok, err := u.load()
	if err != nil || !ok {
		return err
	}
	var added []string
	for _, name := range outside {
		if _, known := rec.Forwarding[name]; known || name == u.name() {
			continue
		}
		old, err := u.sysctl("ipv4/conf/"+name+"/forwarding", "")
		if errors.Is(err, os.ErrNotExist) {
			continue // It is gone again.
		}
		if err != nil {
			return err
		}
		rec.Forwarding[name] = old
		added = append(added, name)
	}
	if len(added) == 0 {
		return nil
	}
	if err := errors.Join(u.save(rec), u.writeRules(rec)); err != nil {
		return err
	}
	for _, name := range added {
		if _, err := u.sysctl("ipv4/conf/"+name+"/forwarding", "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
