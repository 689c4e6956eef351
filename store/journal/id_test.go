package journal

import (
	"strings"
	"testing"

	"github.com/google/uuid"
)

func TestIDsHaveThePosition(t *testing.T) {
	for _, position := range []int64{1, 2, 99_999, maxPosition} {
		for _, nonce := range []int64{0, 1, maxNonce} {
			id := format(position, nonce)
			u, err := uuid.Parse(id)
			if err != nil || u.Version() != 8 || u.Variant() != uuid.RFC4122 {
				t.Errorf("%s: version %d, variant %v, %v", id, u.Version(), u.Variant(), err)
			}
			if p, n, ok := parse(id); !ok || p != position || n != nonce {
				t.Errorf("%s: %d, %d, %v", id, p, n, ok)
			}
		}
	}
	if p, _, ok := parse(uuid.Nil.String()); !ok || p != 0 {
		t.Errorf("the zeros: %d, %v", p, ok)
	}
	for _, other := range []string{"{" + format(7, 8) + "}", "urn:uuid:" + format(7, 8), "x" + format(7, 8) + "y", strings.ReplaceAll(format(7, 8), "-", "")} {
		if _, _, ok := parse(other); ok {
			t.Errorf("%s is read as an id", other)
		}
	}
	if format(1, 5) >= format(2, 1) {
		t.Error("ids are not in the order of their events")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(format(7, 8))
	f.Add("00000000-0000-0000-0000-000000000000")
	f.Add("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
	f.Add("")
	f.Fuzz(func(t *testing.T, id string) {
		position, nonce, ok := parse(id)
		if !ok || position == 0 && nonce == 0 {
			return
		}
		if again := format(position, nonce); !strings.EqualFold(again, id) {
			t.Errorf("%q is read as %s", id, again)
		}
	})
}
