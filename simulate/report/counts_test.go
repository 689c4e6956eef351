package report

import (
	"reflect"
	"testing"
)

func TestEveryCountIsAddedUp(t *testing.T) {
	var a, b Counts
	v := reflect.ValueOf(&b).Elem()
	for i := range v.NumField() {
		v.Field(i).SetUint(uint64(i + 1))
	}
	a.add(b)
	a.add(b)
	for i := range v.NumField() {
		if got, want := reflect.ValueOf(a).Field(i).Uint(), uint64(2*(i+1)); got != want {
			t.Errorf("%s is %d, want %d", v.Type().Field(i).Name, got, want)
		}
	}
}
