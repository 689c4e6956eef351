package slash30

import (
	"errors"
	"net/netip"
	"testing"
)

func TestSubnets(t *testing.T) {
	s := New(netip.MustParsePrefix("10.200.0.0/28"))
	var got []netip.Prefix
	for range 4 {
		p, err := s.Take()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p)
	}
	for i, want := range []string{"10.200.0.0/30", "10.200.0.4/30", "10.200.0.8/30", "10.200.0.12/30"} {
		if got[i].String() != want {
			t.Errorf("subnet %d is %v, want %v", i, got[i], want)
		}
	}
	if _, err := s.Take(); !errors.Is(err, ErrExhausted) {
		t.Errorf("full: %v", err)
	}
	s.Free(got[2])
	s.Free(got[2])
	if p, err := s.Take(); err != nil || p != got[2] {
		t.Errorf("the only free one: %v, %v", p, err)
	}
	for _, p := range []string{"10.200.0.4/30", "10.201.0.0/30", "10.200.0.0/29", "9.0.0.0/30"} {
		if s.Claim(netip.MustParsePrefix(p)) {
			t.Errorf("claimed %v", p)
		}
	}
	s.Free(got[1])
	if !s.Claim(got[1]) {
		t.Error("a free one cannot be claimed")
	}
	if n, f := Near(got[3]), Far(got[3]); n.String() != "10.200.0.13" || f.String() != "10.200.0.14" {
		t.Errorf("ends %v and %v", n, f)
	}
}

func TestSubnetsComeBackLate(t *testing.T) {
	s := New(netip.MustParsePrefix("10.200.0.0/24"))
	first, err := s.Take()
	if err != nil {
		t.Fatal(err)
	}
	s.Free(first)
	for range s.Size() - 1 {
		p, err := s.Take()
		if err != nil || p == first {
			t.Fatalf("%v came back early, %v", p, err)
		}
		s.Free(p)
	}
	if p, _ := s.Take(); p != first {
		t.Errorf("got %v, want %v", p, first)
	}
}
