package seen

import (
	"net/netip"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/network/refused"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestASlotCountsEachKind(t *testing.T) {
	var s Slot
	if got := s.Traffic(); !reflect.DeepEqual(got, Traffic{}) || len(s.Attempts(time.Time{})) > 0 {
		t.Errorf("an empty one: %+v, %v", got, s.Attempts(time.Time{}))
	}
	to := netip.MustParseAddrPort("1.1.1.1:443")
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range 4 {
				s.Packet(refused.Packet{Proto: "tcp", To: to}, start)
			}
			for range 3 {
				s.Refused(refused.Packet{Proto: "tcp", To: to, Name: "a.example"}, start)
			}
			for range 2 {
				s.Refused(refused.Packet{Proto: "dns", Name: "a.example"}, start)
			}
			s.Opened("a.example", 443, start)
			s.Answered("b.example", start)
		})
	}
	wg.Wait()
	want := Traffic{Connections: 10, RefusedConnections: 30, RefusedQueries: 20, RefusedPackets: 40, Hosts: []Host{
		{Name: "a.example", Ports: []uint16{443}, Connections: 10, First: start, Last: start},
		{Name: "b.example", Answers: 10, First: start, Last: start},
	}}
	if got := s.Traffic(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := s.Attempts(time.Time{}); len(got) != 3 {
		t.Errorf("refused: %v", got)
	}
}

// A guest may end while the gateway still passes something on for it.
func TestASlotThatIsGoneRecordsNothing(t *testing.T) {
	var s *Slot
	s.Packet(refused.Packet{}, start)
	s.Refused(refused.Packet{}, start)
	s.Opened("a.example", 443, start)
	s.Answered("a.example", start)
}
