package quota

import "testing"

func TestWaits(t *testing.T) {
	var w Waits
	enter := func(owner string, wantPaid, wantOK bool) {
		t.Helper()
		if paid, ok := w.Enter(owner, 3, 2); paid != wantPaid || ok != wantOK {
			t.Errorf("%s: paid %v, %v", owner, paid, ok)
		}
	}
	enter("a", false, true)
	w.Pay("a")
	enter("a", true, true)
	enter("a", false, false)
	enter("b", false, true)
	enter("c", false, false)
	w.Leave("a")
	enter("c", false, true)
	w.Leave("a")
	w.Leave("b")
	w.Leave("c")
	if w.All() != 0 {
		t.Errorf("%d wait", w.All())
	}
	enter("a", false, true) // What was paid for has ended.
	for range 10 {
		if _, ok := w.Enter("d", 0, 0); !ok {
			t.Error("there is a bound")
		}
	}
}
