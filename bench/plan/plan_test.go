package plan

import "testing"

func TestTheDearIsDoneLessOftenButNotOnce(t *testing.T) {
	p := Full()
	if a, b, c := p.Few(1), p.Few(10), p.Few(100); a != p.Dear || b != 3 || c != 3 {
		t.Errorf("%d, %d, %d", a, b, c)
	}
	if p.Repeats(0) <= p.Repeats(100) || p.Repeats(100) <= p.Repeats(500) {
		t.Errorf("%d, %d, %d", p.Repeats(0), p.Repeats(100), p.Repeats(500))
	}
	if q := Quick(); q.Few(50) != 1 || q.Repeats(500) != 1 {
		t.Errorf("quick: %d, %d", q.Few(50), q.Repeats(500))
	}
}
