package capacity

import "testing"

func TestCancelLeavesTheQueue(t *testing.T) {
	q, r := full(t, 1, QueueConfig{})
	ticket := ask(t, q, "a", one)
	ticket.Cancel()
	ticket.Cancel()
	r.Release()
	if admitted(ticket) || ticket.Reservation() != nil || q.ledger.Active() != (Budget{}) {
		t.Error("a cancelled ticket was admitted")
	}
	if s := q.Stats(); s.Cancelled != 1 || s.Pending != 0 || len(s.PendingByTenant) != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestCancelAfterAnUnseenAdmissionReleasesAndServesTheNext(t *testing.T) {
	q, r := full(t, 1, QueueConfig{})
	first, second := ask(t, q, "a", one), ask(t, q, "a", one)
	r.Release() // Admits the first, whose owner gave up and does not know.
	first.Cancel()
	first.Cancel()
	if first.Reservation() != nil {
		t.Error("a cancelled ticket hands out a reservation")
	}
	if !admitted(second) || q.ledger.Active() != one {
		t.Errorf("the next was not served; active %+v", q.ledger.Active())
	}
}

func TestCancelAfterTheReservationWasTakenDoesNothing(t *testing.T) {
	q, r := full(t, 1, QueueConfig{})
	ticket := ask(t, q, "a", one)
	r.Release()
	taken := ticket.Reservation()
	ticket.Cancel()
	if q.ledger.Active() != one || ticket.Reservation() != taken || !taken.Release() {
		t.Error("Cancel released what its taker owns")
	}
}

func TestOrderTellsWhoCameAndWhoWasServedWhen(t *testing.T) {
	q, r := full(t, 1, QueueConfig{})
	tickets := []*Ticket{ask(t, q, "a", one), ask(t, q, "a", one), ask(t, q, "b", one)}
	for i, ticket := range tickets {
		if arrival, turn := ticket.Order(); arrival != uint64(i+1) || turn != 0 {
			t.Errorf("ticket %d waits at %d, %d", i, arrival, turn)
		}
	}
	// a and b take turns.
	for turn, ticket := range []*Ticket{tickets[0], tickets[2], tickets[1]} {
		r.Release()
		if r = ticket.Reservation(); r == nil {
			t.Fatalf("turn %d: not admitted", turn+1)
		}
		if _, got := ticket.Order(); got != uint64(turn+1) {
			t.Errorf("turn %d, want %d", got, turn+1)
		}
	}
	if arrival, _ := ask(t, q, "a", one).Order(); arrival != 4 {
		t.Errorf("the next arrival is %d", arrival)
	}
}
