package e2b

import (
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/rundlet/rundlet/e2b/internal/quota"
)

// The work that one peer may cause without a key, in checks of a key a second: wrong keys,
// signed URLs that only a search of all sandboxes finds, and resumes of sandboxes
// that need no token, which count for more.
const (
	keylessPerSecond = 20
	keylessBurst     = 200
	// keylessPeers bounds the memory for it; some 200 bytes each.
	keylessPeers = 16384
)

// loopback is trusted to say on whose behalf it asks: that is where a reverse
// proxy on this machine is.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// forwardedHops bounds how many proxies in a row are believed.
const forwardedHops = 8

// peers distinguishes clients without a key.
type peers struct {
	proxies []netip.Prefix
	rate    *quota.Rate
}

func newPeers(proxies []netip.Prefix) peers {
	return peers{append(loopback[:len(loopback):len(loopback)], proxies...), quota.NewRate(keylessPerSecond, keylessBurst, keylessPeers)}
}

// of is the address that a request comes from: that of the connection or, if that
// is a proxy of ours, the one that the proxy named last. The zero address stands
// for all peers that cannot be distinguished.
func (p peers) of(r *http.Request) netip.Addr {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := from.Addr().Unmap()
	lines := r.Header["X-Forwarded-For"]
	for range forwardedHops {
		if len(lines) == 0 || !p.trusted(addr) {
			break
		}
		line := lines[len(lines)-1]
		last := line
		if i := strings.LastIndexByte(line, ','); i >= 0 {
			last = line[i+1:]
			lines = append(lines[:len(lines)-1:len(lines)-1], line[:i])
		} else {
			lines = lines[:len(lines)-1]
		}
		next, err := parseForwarded(strings.TrimSpace(last))
		if err != nil {
			break // The proxy did not know it; it is the peer itself.
		}
		addr = next.Unmap()
	}
	return addr
}

// parseForwarded reads an address as proxies write it: some with the port, and of
// IPv6 with brackets. A zone is dropped: it means nothing here, and may be any text.
func parseForwarded(text string) (netip.Addr, error) {
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return withPort.Addr().WithZone(""), nil
	}
	if inner, ok := strings.CutPrefix(text, "["); ok {
		text = strings.TrimSuffix(inner, "]")
	}
	addr, err := netip.ParseAddr(text)
	return addr.WithZone(""), err
}

func (p peers) trusted(addr netip.Addr) bool {
	for _, proxy := range p.proxies {
		if proxy.Contains(addr) {
			return true
		}
	}
	return false
}

// forwardedHost matches a host as proxies name it, with a port or without.
var forwardedHost = regexp.MustCompile(`^[A-Za-z0-9._:\[\]-]{1,255}$`)

// base is the URL by which the client of a request reached the server, without a path. A proxy of ours says by which
// scheme and host the client reached it.
func (p peers) base(r *http.Request) string {
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && p.trusted(from.Addr().Unmap()) {
		if proto := strings.ToLower(firstForwarded(r, "X-Forwarded-Proto")); proto == "http" || proto == "https" {
			scheme = proto
		}
		if name := firstForwarded(r, "X-Forwarded-Host"); forwardedHost.MatchString(name) {
			host = name
		}
	}
	return (&url.URL{Scheme: scheme, Host: host}).String()
}

// firstForwarded is the first of the values that proxies in a row wrote, which is that of the one next to the client.
func firstForwarded(r *http.Request, name string) string {
	first, _, _ := strings.Cut(r.Header.Get(name), ",")
	return strings.TrimSpace(first)
}
