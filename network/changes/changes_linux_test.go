package changes

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/namespace/namespacetest"
)

var everything = Everything

// What the kernel reports is looked at at once, and without a report all the same.
func TestAReportIsLookedAtAtOnceAndEverythingNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The watch is woken by time, which orders nothing for the race detector.
		var mu sync.Mutex
		var looks []Depth
		w := newNews()
		ended := make(chan error)
		go func() {
			ended <- watch(t.Context(), w, func(at Depth) time.Duration {
				mu.Lock()
				defer mu.Unlock()
				looks = append(looks, at)
				return Interval
			})
		}()
		seen := func() []Depth {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(looks)
		}
		if looks := seen(); !slices.Equal(looks, []Depth{everything}) {
			t.Fatalf("at first %v", looks)
		}
		time.Sleep(leastRest)
		w.add(func(at *Depth) { at.Host = true })
		if looks := seen(); !slices.Equal(looks[1:], []Depth{{Host: true}}) {
			t.Fatalf("after a report %v", looks)
		}
		time.Sleep(Interval)
		if looks := seen(); !slices.Equal(looks[2:], []Depth{{}}) {
			t.Fatalf("without a report %v", looks)
		}
		time.Sleep(deepEvery * Interval)
		if looks := seen(); len(looks) <= deepEvery || looks[deepEvery-1] != (Depth{}) || looks[deepEvery] != everything {
			t.Fatalf("after %d looks without a report %v", deepEvery, looks)
		}
		w.fail(ErrNotFollowed)
		if err := <-ended; !errors.Is(err, ErrNotFollowed) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestTheKernelReportsLinksAndPacketFilters(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	for name, c := range map[string]struct {
		ns   func(Source) *os.File
		want Depth
	}{
		"router": {func(s Source) *os.File { return s.Router }, Depth{Router: true}},
		"host":   {func(s Source) *os.File { return s.Host }, Depth{Host: true}},
	} {
		t.Run(name, func(t *testing.T) {
			programs := make(chan string, 1)
			source := Source{
				Router: namespacetest.New(t, nil), Host: namespacetest.New(t, nil), Self: -1, // The test is another program.
				ChangedBy: func(program string) {
					select {
					case programs <- program:
					default:
					}
				},
			}
			looks := make(chan Depth)
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				ended <- Watch(ctx, source, func(at Depth) time.Duration {
					select {
					case looks <- at:
					case <-ctx.Done():
					}
					return time.Hour // Only a report causes a look.
				})
			}()
			deadline := time.After(time.Minute)
			if at := <-looks; at != everything {
				t.Fatalf("at first looked at %+v", at)
			}
			conn, err := nftables.New(nftables.WithNetNSFd(int(c.ns(source).Fd())))
			if err != nil {
				t.Fatal(err)
			}
			conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "another"})
			if err := conn.Flush(); err != nil {
				t.Fatal(err)
			}
			// Which namespace it is does not count.
			for program, looked := "", false; program == "" || !looked; {
				select {
				case program = <-programs:
				case at := <-looks:
					if looked = true; at != (Depth{Filter: true}) {
						t.Fatalf("looked at %+v after a change of a packet filter", at)
					}
				case <-deadline:
					t.Fatalf("a change of a packet filter: by %q, looked at: %v", program, looked)
				}
			}
			err = namespace.In(c.ns(source), func() error {
				lo, err := netlink.LinkByName("lo")
				if err != nil {
					return err
				}
				return netlink.LinkSetMTU(lo, 1500)
			})
			if err != nil {
				t.Fatal(err)
			}
			for at := (Depth{}); at != c.want; {
				select {
				case at = <-looks:
					if at != c.want && at != (Depth{Filter: true}) { // It may be one more for the packet filter.
						t.Fatalf("looked at %+v, want %+v", at, c.want)
					}
				case err := <-ended:
					t.Fatalf("the watch ended: %v", err)
				case <-deadline:
					t.Fatal("the change of a link is not looked at")
				}
			}
			stop()
			if err := <-ended; err != nil {
				t.Errorf("ended with %v", err)
			}
		})
	}
}
