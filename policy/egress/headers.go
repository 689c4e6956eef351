package egress

import (
	"fmt"
	"net/textproto"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/rundlet/rundlet/sandbox"
)

// The bounds of headers are E2B's: hosts with headers, headers of a host, and the bytes of a name and of a value.
const (
	MaxHeaderHosts, MaxHeaders   = 10, 20
	MaxHeaderName, MaxHeaderText = 64, 2048
)

// placeholder begins what E2B's cloud replaces with a token of an identity.
const placeholder = "${e2b."

// ofConnection are the headers that say where a request goes or where it ends, which rules must not.
var ofConnection = map[string]bool{
	"Host": true, "Content-Length": true, "Transfer-Encoding": true, "Connection": true, "Keep-Alive": true, "Upgrade": true,
	"Te": true, "Trailer": true, "Proxy-Connection": true, "Expect": true, "Http2-Settings": true,
}

// parseHeaders checks the headers of hosts. They are as Policy has them. No error has a
// value, which may be a secret, nor what is not the name of a header: a value may be in it by mistake.
func parseHeaders(list map[string]map[string]string) (map[string]map[string]string, error) {
	if len(list) > MaxHeaderHosts {
		return nil, invalid("rules has %d hosts, and at most %d are accepted", len(list), MaxHeaderHosts)
	}
	out, any := map[string]map[string]string{}, false
	for entry, headers := range list {
		if !isName(entry) || entry == "*" {
			return nil, invalid("rules: %.80q is not a host name, or \"*.\" and a host name", entry)
		}
		host := strings.TrimSuffix(strings.ToLower(entry), ".")
		if _, twice := out[host]; twice {
			return nil, invalid("rules: %.80q is there twice", host)
		}
		set, err := parseHeadersOf(host, headers)
		if err != nil {
			return nil, err
		}
		out[host], any = set, any || len(set) > 0
	}
	if !any {
		return nil, nil
	}
	return out, nil
}

func parseHeadersOf(host string, headers map[string]string) (map[string]string, error) {
	if len(headers) > MaxHeaders {
		return nil, invalid("rules of %.80q: %d headers, and at most %d are accepted", host, len(headers), MaxHeaders)
	}
	out := map[string]string{}
	for name, value := range headers {
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		switch {
		case len(name) > MaxHeaderName || !httpguts.ValidHeaderFieldName(name):
			return nil, invalid("rules of %.80q: a key is not the name of a header of at most %d bytes", host, MaxHeaderName)
		case ofConnection[canonical]:
			return nil, invalid("rules of %.80q: %s belongs to the connection, and cannot be set", host, canonical)
		case len(value) > MaxHeaderText:
			return nil, invalid("rules of %.80q: the value of %s has %d bytes, and at most %d are accepted", host, canonical, len(value), MaxHeaderText)
		case !httpguts.ValidHeaderFieldValue(value):
			return nil, invalid("rules of %.80q: the value of %s has characters that no header can have", host, canonical)
		case strings.Contains(value, placeholder):
			return nil, fmt.Errorf("%w: rules of %.80q: the value of %s has a placeholder for a token of an identity", sandbox.ErrUnsupported, host, canonical)
		}
		if _, twice := out[canonical]; twice {
			return nil, invalid("rules of %.80q: %s is there twice", host, canonical)
		}
		out[canonical] = value
	}
	return out, nil
}
