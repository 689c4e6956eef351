package signature

import (
	"crypto/sha256"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestVector(t *testing.T) {
	got := Sign(Request{Path: "hello.txt", Operation: Read, User: "user"}, "0tQG31xiMp0IOQfaz9dcwi72L1CPo8e0")
	if want := "v1_gUtH/s9YCJWgCizjfUxuWfhFE4QSydOWEIIvfLwDr6E"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	// printf 'p:write::t:1000' | openssl dgst -sha256 -binary | base64 | tr -d =
	got = Sign(Request{Path: "p", Operation: Write, Expiration: "1000"}, "t")
	if want := "v1_jy+FeXI2tC2xg9jZCs9ViGwQOytzcQFR86niw4RK/fQ"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestCheck(t *testing.T) {
	now := time.Unix(1000, 0)
	sign := func(exp string) string { return Sign(Request{Path: "p", Operation: Read, Expiration: exp}, "t") }
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	// The last character has two bits that are not of the digest.
	spare := func(s string) string {
		end := len(s) - 1
		return s[:end] + string(alphabet[strings.IndexByte(alphabet, s[end])+1])
	}
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
		{"padded", "", sign("") + "=", ErrInvalid},
		{"with a line end", "", sign("") + "\n", ErrInvalid},
		{"a line end in place of a character", "", sign("")[:45] + "\n", ErrInvalid},
		{"with bits behind its end", "", spare(sign("")), ErrInvalid},
		{"not base64", "", "v1_" + strings.Repeat("*", 43), ErrInvalid},
		{"another version", "", "v2_" + sign("")[3:], ErrInvalid},
		{"no version", "", sign("")[3:], ErrInvalid},
	} {
		if err := Check(Request{Path: "p", Operation: Read, Expiration: tc.exp}, tc.sig, "t", now); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

// One claim and one scratch hash serve many tokens, in any order.
func TestClaimTriesManyTokens(t *testing.T) {
	r := Request{Path: "p", Operation: Write, User: "u", Expiration: "1"}
	c, err := Parse(r, Sign(r, "right"))
	if err != nil {
		t.Fatal(err)
	}
	scratch := sha256.New()
	for range 2 {
		for token, want := range map[string]bool{"right": true, "": false, "wrong": false, "right:1": false, "righ": false} {
			if got := c.By(token, scratch); got != want {
				t.Errorf("%q: %v", token, got)
			}
		}
	}
	if err := c.Fresh(time.Unix(2, 0)); !errors.Is(err, ErrExpired) {
		t.Errorf("%v", err)
	}
}

func TestFromQuery(t *testing.T) {
	q, _ := url.ParseQuery("path=a%2Fb&username=u&signature=v1_x&signature_expiration=5&other=6")
	if r, text := FromQuery(q, Write); r != (Request{"a/b", Write, "u", "5"}) || text != "v1_x" {
		t.Errorf("%+v, %q", r, text)
	}
	if r, text := FromQuery(nil, Read); r != (Request{Operation: Read}) || text != "" {
		t.Errorf("%+v, %q", r, text)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("p", "read", "u", "1000", "v1_x", "t")
	f.Fuzz(func(t *testing.T, path, op, user, exp, sig, token string) {
		r := Request{path, op, user, exp}
		good := Sign(r, token)
		if sig != good && Check(r, sig, token, time.Unix(0, 0)) == nil {
			t.Errorf("%q passes for %q", sig, good)
		}
		c, err := Parse(r, good)
		if err != nil || !c.By(token, sha256.New()) || c.By(token+"x", sha256.New()) {
			t.Errorf("%q: %v", good, err)
		}
	})
}
