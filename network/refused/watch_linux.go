package refused

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/florianl/go-nflog/v2"
	"golang.org/x/sys/unix"
)

const (
	// snap is how much of a packet is copied: the longest IPv4 header, or that of IPv6, and ports.
	snap = 64
	// The kernel collects packets for a second, or until there are so many.
	collect = 100 // In hundredths of a second.
	atOnce  = 32
)

// Watch calls report for each packet that the chain logs in the namespace ns, until ctx ends or it fails. Packets that
// come faster than they are read are lost.
func Watch(ctx context.Context, ns *os.File, report func(Packet)) error {
	l, err := nflog.Open(&nflog.Config{
		NetNS: int(ns.Fd()), Group: group, Copymode: nflog.CopyPacket, Bufsize: snap, QThresh: atOnce, Timeout: collect,
	})
	if err != nil {
		return fmt.Errorf("read what was refused: %w", err)
	}
	defer l.Close()
	failed := make(chan error, 1)
	reading, stop := context.WithCancel(context.Background())
	defer stop()
	err = l.RegisterWithErrorFunc(reading,
		func(a nflog.Attribute) int {
			if a.Payload != nil {
				if p, ok := parse(*a.Payload); ok {
					report(p)
				}
			}
			return 0
		},
		func(err error) int {
			if errors.Is(err, unix.ENOBUFS) { // Some packets were lost.
				return 0
			}
			select {
			case failed <- err:
			default:
			}
			return 1
		})
	if err != nil {
		return fmt.Errorf("read what was refused: %w", err)
	}
	select {
	case <-ctx.Done():
		// The reader ends by its error function. To close before it has begun is a race in the library.
		if err := l.Con.SetReadDeadline(time.Now()); err != nil {
			return fmt.Errorf("stop reading what was refused: %w", err)
		}
		<-failed
		return nil
	case err := <-failed:
		return fmt.Errorf("read what was refused: %w", err)
	}
}
