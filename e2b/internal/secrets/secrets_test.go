package secrets

import (
	"encoding/base64"
	"strings"
	"testing"
)

var (
	key   = "e2b_" + strings.Repeat("0123456789abcdef", 3)[:40]
	token = strings.Repeat("fedcba9876543210", 4)
)

// encoded percent-encodes every byte.
func encoded(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		b.WriteString("%" + strings.ToUpper(hexOf(s[i])))
	}
	return b.String()
}

func hexOf(c byte) string { return string([]byte{"0123456789abcdef"[c>>4], "0123456789abcdef"[c&15]}) }

func TestKeysAndTokensAreRecognized(t *testing.T) {
	for text, want := range map[string]bool{
		key: true, "x" + strings.ToUpper(key) + "y": true, encoded(key): true, "/a/" + strings.Replace(key, "_", "%5f", 1): true,
		"Basic " + base64.StdEncoding.EncodeToString([]byte("u:"+key)): true, "": false, key[:43]: false, token: false, "e2b_" + strings.Repeat("g", 40): false,
	} {
		if got := HasKey(text); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	if !IsToken(token) || IsToken(token[1:]) || IsToken(token+"0") || IsToken(strings.Repeat("g", 64)) {
		t.Error("tokens are not recognized by their form")
	}
}

func TestNothingOfASecretIsLeft(t *testing.T) {
	for text, want := range map[string]string{
		"/sandboxes/i0": "/sandboxes/i0", "": "", "/a%20b/%": "/a%20b/%", "/" + key[:43]: "/" + key[:43], "/blob/" + token[:63]: "/blob/" + token[:63],
		"/x/" + key + "/y": "/x/.../y", "/" + token + token + "/" + strings.ToUpper(key): "/.../...", "/" + key + key: "/......",
		"/x/" + encoded(key) + "/y": "...", "/x/" + encoded(encoded(token)): "...", "/e2b%5F" + key[4:]: "...", "/x/" + token[:32] + "%31" + token[33:]: "...",
		"%zz" + key: "%zz...", encoded(encoded(encoded(token))): "...", encoded(encoded(encoded(encoded(key)))): "...", "/%252541/%zz": "/%252541/%zz",
	} {
		if got := Redact(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("/a/", "/b", uint8(0))
	f.Fuzz(func(t *testing.T, before, after string, times uint8) {
		for _, secret := range []string{key, token} {
			const most = encodings + 2
			for range times % most {
				secret = encoded(secret)
			}
			got := Redact(before + secret + after)
			for range most {
				got = unescape(got)
			}
			if strings.Contains(got, key) || strings.Contains(got, token) {
				t.Errorf("%q%s%q becomes %q", before, secret, after, got)
			}
		}
	})
}
