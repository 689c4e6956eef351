package egress

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
)

const secret = "7c1d-secret"

func TestHeaders(t *testing.T) {
	p, err := Compile(nil, sandbox.Egress{Headers: map[string]map[string]string{
		"API.Example.com.": {"authorization": "Bearer " + secret, "x-a": ""}, "*.example.com": {"X-B": "ü\t$"}, "empty.example": {}, "a_b.com": nil,
	}})
	want := "map[*.example.com:map[X-B:ü\t$] a_b.com:map[] api.example.com:map[Authorization:Bearer " + secret + " X-A:] empty.example:map[]]"
	if err != nil || fmt.Sprint(p.Headers) != want || !p.All {
		t.Errorf("%v, %v, want %s", p, err, want)
	}
	if p.Equal(Everything) || !p.Equal(p) || p.None() {
		t.Errorf("%v is everything", p)
	}
	// They permit nothing, and limit nothing.
	none, err := Compile(ptr(false), sandbox.Egress{Headers: map[string]map[string]string{"a.example": {"A": "b"}}})
	if err != nil || !none.None() {
		t.Errorf("%v, %v", none, err)
	}
	both, err := Compile(nil, sandbox.Egress{Allow: []string{"a.example"}, Deny: []string{"0.0.0.0/0"}, Headers: map[string]map[string]string{"b.example": {"A": "b"}}})
	if err != nil || both.All || fmt.Sprint(both.Names) != "[a.example]" || len(both.Headers) != 1 {
		t.Errorf("%v, %v", both, err)
	}
	if empty, err := Compile(nil, sandbox.Egress{Headers: map[string]map[string]string{"a.example": {}}}); err != nil || !empty.Equal(Everything) {
		t.Errorf("a host without headers: %v, %v", empty, err)
	}
}

// many has n keys.
func many[T any](n int, key string, value T) map[string]T {
	out := map[string]T{}
	for i := range n {
		out[fmt.Sprintf(key, i)] = value
	}
	return out
}

func TestBadHeaders(t *testing.T) {
	type hosts = map[string]map[string]string
	one := map[string]string{"A": secret}
	if _, err := Compile(nil, sandbox.Egress{Headers: many(MaxHeaderHosts, "a%d.example", many(MaxHeaders, strings.Repeat("n", MaxHeaderName-2)+"%02d", strings.Repeat("v", MaxHeaderText)))}); err != nil {
		t.Errorf("as many and as long as can be: %v", err)
	}
	for name, c := range map[string]struct {
		headers hosts
		want    string
	}{
		"every host": {hosts{"*": one}, `"*"`}, "an address": {hosts{"1.1.1.1": one}, `"1.1.1.1"`}, "a port": {hosts{"a.example:443": one}, "a.example:443"},
		"a URL": {hosts{"https://a.example": one}, "https"}, "a part of a label": {hosts{"*a.example": one}, "*a"}, "two wildcards": {hosts{"*.*.a": one}, "*.*"},
		"nothing": {hosts{"": one}, `""`}, "a CIDR block": {hosts{"1.0.0.0/8": one}, "1.0.0.0/8"}, "IPv6": {hosts{"::1": one}, "::1"},
		"two spellings":    {hosts{"a.example": one, "a.example.": one}, "twice"},
		"many hosts":       {many(MaxHeaderHosts+1, "a%d.example", one), "11 hosts"},
		"many headers":     {hosts{"a.example": many(MaxHeaders+1, "a%d", "b")}, "21 headers"},
		"a long name":      {hosts{"a.example": {strings.Repeat("n", MaxHeaderName+1): secret}}, "name of a header"},
		"no name":          {hosts{"a.example": {"": secret}}, "name of a header"},
		"a space":          {hosts{"a.example": {"A B": secret}}, "name of a header"},
		"a whole line":     {hosts{"a.example": {"Authorization: " + secret: ""}}, "name of a header"},
		"a line in a name": {hosts{"a.example": {"A\r\nB": secret}}, "name of a header"},
		"a pseudo header":  {hosts{"a.example": {":authority": secret}}, "name of a header"},
		"a long value":     {hosts{"a.example": {"A": secret + strings.Repeat("v", MaxHeaderText)}}, "2059 bytes"},
		"a line":           {hosts{"a.example": {"A": secret + "\r\nB: c"}}, "value of A"},
		"a zero":           {hosts{"a.example": {"A": secret + "\x00"}}, "value of A"},
		"two names":        {hosts{"a.example": {"x-key": secret, "X-Key": secret}}, "X-Key is there twice"},
		"the host":         {hosts{"a.example": {"host": secret}}, "Host belongs"},
		"the length":       {hosts{"a.example": {"content-length": secret}}, "Content-Length belongs"},
		"chunks":           {hosts{"a.example": {"Transfer-Encoding": secret}}, "Transfer-Encoding belongs"},
		"TE":               {hosts{"a.example": {"TE": secret}}, "Te belongs"},
		"an identity":      {hosts{"a.example": {"A": secret + "${e2b.identity.tokens.a}"}}, "placeholder"},
	} {
		p, err := Compile(nil, sandbox.Egress{Headers: c.headers})
		kind := sandbox.ErrInvalid
		if name == "an identity" {
			kind = sandbox.ErrUnsupported
		}
		if !errors.Is(err, kind) || !strings.Contains(fmt.Sprint(err), c.want) || !p.None() {
			t.Errorf("%s: %v, %v", name, p, err)
		}
		if strings.Contains(fmt.Sprint(err), secret) || len(fmt.Sprint(err)) > 300 {
			t.Errorf("%s: the error is of %d bytes, or has the value", name, len(fmt.Sprint(err)))
		}
	}
}
