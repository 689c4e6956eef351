package unexported

import "testing"

func TestField(t *testing.T) {
	v := struct{ hidden int }{1}
	field, err := Field(&v, "hidden")
	if err != nil {
		t.Fatal(err)
	}
	if field.SetInt(2); v.hidden != 2 {
		t.Errorf("it is %d", v.hidden)
	}
	var none *struct{ hidden int }
	for _, absent := range []any{nil, none, v, new(int)} {
		if _, err := Field(absent, "hidden"); err == nil {
			t.Errorf("%T has a field", absent)
		}
	}
	if _, err := Field(&v, "other"); err == nil {
		t.Error("it has a field of another name")
	}
}
