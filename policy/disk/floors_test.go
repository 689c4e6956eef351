package disk

import "testing"

func TestFloorsAreLessOnADiskThatIsSmall(t *testing.T) {
	if got := FloorsFor(1 << 50); got != (Floors{RestoreFloor, SaveFloor, BuildFloor, WarmPoolFloor}) {
		t.Errorf("large: %+v", got)
	}
	if got := FloorsFor(1000); got != (Floors{100, 100, 100, 200}) {
		t.Errorf("small: %+v", got)
	}
}
