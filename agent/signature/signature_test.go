package signature

import (
	"errors"
	"testing"
	"time"
)

func TestVector(t *testing.T) {
	got := Sign(Request{Path: "hello.txt", Operation: Read, User: "user"}, "0tQG31xiMp0IOQfaz9dcwi72L1CPo8e0")
	if want := "v1_gUtH/s9YCJWgCizjfUxuWfhFE4QSydOWEIIvfLwDr6E"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestCheck(t *testing.T) {
	now := time.Unix(1000, 0)
	sign := func(exp string) string { return Sign(Request{Path: "p", Operation: Read, Expiration: exp}, "t") }
	for _, tc := range []struct {
		name, exp, sig string
		want           error
	}{
		{"good", "", sign(""), nil},
		{"good until now", "1000", sign("1000"), nil},
		{"expired", "999", sign("999"), ErrExpired},
		{"missing", "", "", ErrMissing},
		{"wrong", "", "v1_x", ErrInvalid},
		{"wrong before expired", "999", "v1_x", ErrInvalid},
		{"other expiration", "2000", sign("999"), ErrInvalid},
		{"no number", "soon", sign("soon"), ErrInvalid},
	} {
		if err := Check(Request{Path: "p", Operation: Read, Expiration: tc.exp}, tc.sig, "t", now); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("p", "read", "u", "1000", "v1_x", "t")
	f.Fuzz(func(t *testing.T, path, op, user, exp, sig, token string) {
		r := Request{path, op, user, exp}
		if good := Sign(r, token); sig != good && Check(r, sig, token, time.Unix(0, 0)) == nil {
			t.Errorf("%q passes for %q", sig, good)
		}
	})
}
