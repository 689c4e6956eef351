package rootless

import (
	"errors"
	"strings"
	"testing"
)

func TestSubordinateIDs(t *testing.T) {
	const file = `
# comment
other:100000:65536
me:1:10
me:x:65536
me:200000:many
me:0:70000
me:-5:70000
broken
me:165536:65535:more
1000:300000:65535
me:400000:65536
`
	for _, c := range []struct {
		name, id string
		want     span
		err      error
	}{
		{"me", "1001", span{400000, leastIDs}, nil}, // Those that are too few, or no numbers, are passed over.
		{"other", "7", span{100000, leastIDs}, nil},
		{"by-number", "1000", span{300000, leastIDs}, nil},
		{"nobody", "65534", span{}, errNoIDs},
	} {
		got, err := subordinate(strings.NewReader(file), c.name, c.id)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s has %+v, %v, want %+v", c.name, got, err, c.want)
		}
	}
	if _, err := subordinate(strings.NewReader(strings.Repeat("x", 1<<20)), "me", "1"); !errors.Is(err, errNoIDs) {
		t.Errorf("a line without an end gives %v", err)
	}
}
