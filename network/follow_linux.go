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
// is closed. The channel that it returns is closed then, or earlier if the
// kernel does not go on: it does not wait for who is slow.
func (u *uplink) subscribe(done <-chan struct{}) (<-chan netlink.RouteUpdate, error) {
	ns := netns.NsHandle(u.host.Fd())
	changes := make(chan netlink.RouteUpdate, 64)
	err := netlink.RouteSubscribeWithOptions(changes, done, netlink.RouteSubscribeOptions{
		Namespace: &ns,
		// Who reads notices the end, and nothing else matters: a change only says
		// that it is time to look.
		ErrorCallback: func(error) {},
	})
	if err != nil {
		return nil, fmt.Errorf("ask for the changes of the daemon's routes: %w", err)
	}
	return changes, nil
}

// errNotFollowed: changes were lost, so that all has to be looked at again.
var errNotFollowed = errors.New("the kernel ended the subscription")

// watch follows the host's way to the internet until ctx ends, or until an
// error: a machine that got its network after the daemon started, or changed
// from a cable to a radio, has another outside interface, where answers come in
// and must be forwarded. It can be called again.
func (u *uplink) watch(ctx context.Context, subscribe func(done <-chan struct{}) (<-chan netlink.RouteUpdate, error)) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	changes, err := subscribe(watching.Done())
	if err != nil {
		return err
	}
	defer func() {
		go func() {
			for range changes { // Its sender ends when all was taken.
			}
		}()
	}()
	for {
		if err := u.follow(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-changes:
			if !ok && ctx.Err() == nil {
				return errNotFollowed
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
