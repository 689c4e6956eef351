// Package secrets recognizes API keys and tokens of sandboxes by their form, wherever they are in a text, and takes them out of requests
// that go into a sandbox. It may import sandbox, envd and e2b/internal/route; only packages in and below e2b import it.
package secrets

import (
	"encoding/base64"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// The forms of an API key, KeyPrefix and hexadecimal digits, and of a token.
const (
	KeyPrefix   = "e2b_"
	keyDigits   = 40
	tokenDigits = 64
)

// HasKey reports whether there is a key in s, in clear, percent-encoded or in the
// base64 of Basic authentication.
func HasKey(s string) bool {
	if findKey(s) {
		return true
	}
	if strings.Contains(s, "%") && findKey(unescape(s)) {
		return true
	}
	if words := strings.Fields(s); len(words) == 2 && strings.EqualFold(words[0], "Basic") {
		plain, _ := base64.RawStdEncoding.DecodeString(lenient(strings.TrimRight(words[1], "=")))
		return findKey(string(plain))
	}
	return false
}

// lenient turns base64 for URLs into plain base64: many services accept both.
func lenient(s string) string { return strings.NewReplacer("-", "+", "_", "/").Replace(s) }

// unescape decodes the percent-encoded parts and leaves the others, as the most
// lenient of services may.
func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b = append(b, byte(c))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// findKey reports whether there is "e2b_" and 40 hexadecimal digits in s.
func findKey(s string) bool {
	for {
		i := strings.IndexByte(s, '_')
		if i < 0 {
			return false
		}
		if end := i + 1 + keyDigits; i >= len(KeyPrefix)-1 && end <= len(s) &&
			strings.EqualFold(s[i+1-len(KeyPrefix):i+1], KeyPrefix) && isHex(s[i+1:end]) {
			return true
		}
		s = s[i+1:]
	}
}

// IsToken reports whether s has the form of a token of a sandbox.
func IsToken(s string) bool { return len(s) == tokenDigits && isHex(s) }

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdefABCDEF") == "" }

// Redacted stands for what Redact removes.
const Redacted = "..."

// either matches a key or a token in clear. It is compiled when it is needed first: each command would wait for it.
func either() *regexp.Regexp {
	compile.Do(func() { compiled = regexp.MustCompile(`(?i)e2b_[0-9a-f]{40}|[0-9a-f]{64,}`) })
	return compiled
}

var (
	compile  sync.Once
	compiled *regexp.Regexp
)

// encodings is how often a text may be percent-encoded for Redact to see what is in it. Each more would cost another pass.
const encodings = 3

// Redact returns a text without keys and tokens, to be shown. Where one is hidden by percent-encoding, or may be because the text
// is encoded too often, nothing is left of the text.
func Redact(s string) string {
	if digits(s) {
		s = either().ReplaceAllString(s, Redacted)
	}
	plain := s
	for range encodings {
		if !strings.Contains(plain, "%") {
			break
		}
		if plain = unescape(plain); digits(plain) && either().MatchString(plain) {
			return Redacted
		}
	}
	if unescape(plain) != plain {
		return Redacted
	}
	return s
}

// digits reports whether there are as many hexadecimal digits in a row as a key has.
func digits(s string) bool {
	run := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
			if run++; run >= keyDigits {
				return true
			}
		default:
			run = 0
		}
	}
	return false
}
