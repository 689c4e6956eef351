package format

import (
	"errors"
	"testing"
)

func TestANewerNumberIsRefusedByName(t *testing.T) {
	for _, found := range []int64{-1, 0, 10, 11} {
		if err := Check("this state directory", found, 11); err != nil {
			t.Errorf("%d: %v", found, err)
		}
	}
	err := Check("this state directory", 12, 11)
	var newer *NewerError
	if !errors.As(err, &newer) || newer.Found != 12 || newer.Known != 11 {
		t.Fatalf("%v", err)
	}
	if want := "this state directory was written by a newer rundlet: format 12, this program knows 11; use the newer program"; err.Error() != want {
		t.Errorf("%q", err)
	}
}
