package dataplane

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/envd/signature"
)

// sign makes a signature as the SDKs do.
func sign(path, op, user, token, expiry string) string {
	return signature.Sign(signature.Request{Path: path, Operation: op, User: user, Expiration: expiry}, token)
}

// files is a request to /files with what is not empty of these parameters.
func files(method, path, user, signature, expiry string) *http.Request {
	q := url.Values{}
	for k, v := range map[string]string{"path": path, "username": user, "signature": signature, "signature_expiration": expiry} {
		if v != "" {
			q.Set(k, v)
		}
	}
	return httptest.NewRequest(method, "/files?"+q.Encode(), nil)
}

func TestSignVector(t *testing.T) {
	const token, want = "0tQG31xiMp0IOQfaz9dcwi72L1CPo8e0", "v1_gUtH/s9YCJWgCizjfUxuWfhFE4QSydOWEIIvfLwDr6E"
	if got := sign("hello.txt", "read", "user", token, ""); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := checkSigned(files("GET", "hello.txt", "user", want, ""), token); err != nil {
		t.Error(err)
	}
}

func TestSignatureIsCheckedForFormFirst(t *testing.T) {
	long := func(n int) string { return strings.Repeat("a", n) }
	good := func(path, user, expiry string) string { return sign(path, "read", user, "token", expiry) }
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	// The last character has two bits that are not of the digest.
	spare := func(s string) string {
		end := len(s) - 1
		return s[:end] + string(alphabet[strings.IndexByte(alphabet, s[end])+1])
	}
	past, future := strconv.FormatInt(time.Now().Unix()-10, 10), strconv.FormatInt(time.Now().Unix()+1000, 10)
	tests := []struct {
		name                          string
		path, user, signature, expiry string
		parsed, checked               error
	}{
		{"right", "a", "u", good("a", "u", ""), "", nil, nil},
		{"right, with padding", "a", "u", good("a", "u", "") + "=", "", nil, nil},
		{"right, to come", "a", "u", good("a", "u", future), future, nil, nil},
		{"expired", "a", "u", good("a", "u", past), past, nil, ErrExpired},
		{"expired and wrong", "a", "u", good("b", "u", past), past, nil, ErrBadSignature},
		{"an expiry that is not a number", "a", "u", good("a", "u", "x"), "x", nil, ErrBadSignature},
		{"of another path", "a", "u", good("b", "u", ""), "", nil, ErrBadSignature},
		{"the longest path", long(4096), "u", good(long(4096), "u", ""), "", nil, nil},
		{"a longer path", long(4097), "u", good(long(4097), "u", ""), "", ErrBadSignature, ErrBadSignature},
		{"a long user", "a", long(257), good("a", long(257), ""), "", ErrBadSignature, ErrBadSignature},
		{"a long expiry", "a", "u", good("a", "u", long(21)), long(21), ErrBadSignature, ErrBadSignature},
		{"none", "a", "u", "", "", ErrNoSignature, ErrNoSignature},
		{"short", "a", "u", "v1_x", "", ErrBadSignature, ErrBadSignature},
		{"long", "a", "u", "v1_" + long(100000), "", ErrBadSignature, ErrBadSignature},
		{"not base64", "a", "u", "v1_" + strings.Repeat("*", 43), "", ErrBadSignature, ErrBadSignature},
		{"with bits behind its end", "a", "u", spare(good("a", "u", "")), "", ErrBadSignature, ErrBadSignature},
		{"another version", "a", "u", "v2_" + good("a", "u", "")[3:], "", ErrBadSignature, ErrBadSignature},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := files("GET", tt.path, tt.user, tt.signature, tt.expiry)
			if _, err := parseSigned(r); !errors.Is(err, tt.parsed) {
				t.Errorf("parsed: %v, want %v", err, tt.parsed)
			}
			if err := checkSigned(r, "token"); !errors.Is(err, tt.checked) {
				t.Errorf("checked: %v, want %v", err, tt.checked)
			}
		})
	}
	r := files("GET", "a", "u", good("a", "u", ""), "")
	r.URL.RawQuery += "&x=" + long(16<<10)
	if _, err := parseSigned(r); !errors.Is(err, ErrBadSignature) {
		t.Errorf("a long query: %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("hello.txt", "user", "secret", "1")
	f.Add("", "", "t", "")
	f.Fuzz(func(t *testing.T, path, user, token, expiry string) {
		if len(path) > maxSignedPath || len(user) > maxSignedUser || len(expiry) > maxExpiry {
			return
		}
		signature := sign(path, "read", user, token, expiry)
		by := func(method, signature, token string) bool {
			s, err := parseSigned(files(method, path, user, signature, expiry))
			return err == nil && s.By(token, sha256.New())
		}
		switch {
		case !by("GET", signature, token), !by("GET", signature+"=", token):
			t.Fatal("a right signature was refused")
		case by("POST", signature, token):
			t.Fatal("a signature to read lets write")
		case by("GET", signature, token+"x"):
			t.Fatal("a signature with another token was taken")
		}
	})
}

func TestOperation(t *testing.T) {
	for _, tt := range []struct{ method, announced, want string }{
		{"GET", "", "read"}, {"HEAD", "", "read"}, {"POST", "", "write"}, {"OPTIONS", "POST", "write"}, {"OPTIONS", "GET", "read"},
	} {
		r := &http.Request{Method: tt.method, Header: http.Header{"Access-Control-Request-Method": {tt.announced}}}
		if got := operation(r); got != tt.want {
			t.Errorf("%s %s: %s", tt.method, tt.announced, got)
		}
	}
}
