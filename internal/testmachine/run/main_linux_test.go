package main

import "testing"

func TestAFlagCanBeGivenSeveralTimes(t *testing.T) {
	var l lists
	for _, value := range []string{"a=1", "b=2"} {
		if err := l.Set(value); err != nil {
			t.Fatal(err)
		}
	}
	if l.String() != "a=1 b=2" {
		t.Errorf("the values are %q", l.String())
	}
}
