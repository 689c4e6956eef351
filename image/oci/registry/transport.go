//go:build linux

package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"syscall"
	"time"

	"github.com/rundlet/rundlet/image/oci"
)

// ErrPrivate means that a registry is at an address that it may not be at, or leads there.
var ErrPrivate = errors.New("the address is private")

const (
	maxRedirects   = 5
	connectTimeout = 10 * time.Second
)

// bounded is the transport below authentication. Where a registry leads, by redirects and by
// names of its token service, is checked when a connection is made, so that a name cannot change
// its address between.
type bounded struct {
	inner *http.Transport

	mu sync.Mutex
	// may are the hosts that may be at private addresses.
	may map[string]bool
}

// newTransport returns a transport for a registry at a host, which may be at a private address.
func newTransport(host string, private bool, idle time.Duration) *bounded {
	b := &bounded{may: map[string]bool{host: private}}
	b.inner = &http.Transport{
		DialContext: b.dial, TLSHandshakeTimeout: connectTimeout, MaxIdleConnsPerHost: 8, IdleConnTimeout: idle,
		ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 1 << 20, DisableCompression: true,
		Proxy: func(req *http.Request) (p *url.URL, err error) {
			if p, err = http.ProxyFromEnvironment(req); p != nil { // The operator has chosen it.
				b.mu.Lock()
				defer b.mu.Unlock()
				b.may[p.Hostname()] = true
			}
			return p, err
		},
	}
	return b
}

func (b *bounded) dial(ctx context.Context, network, address string) (net.Conn, error) {
	b.mu.Lock()
	private := b.may[hostname(address)]
	b.mu.Unlock()
	d := net.Dialer{Timeout: connectTimeout, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		return checkAddress(address, private)
	}}
	return d.DialContext(ctx, network, address)
}

// checkAddress refuses addresses that lead to this host or its networks, where they are not
// allowed, and those that no registry has: link-local ones serve metadata of clouds.
func checkAddress(address string, private bool) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	switch ip := at.Addr().Unmap(); {
	case ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%w: %v", ErrPrivate, ip)
	case !private && (ip.IsPrivate() || ip.IsLoopback() || sharedRange.Contains(ip)):
		return fmt.Errorf("%w: %v", ErrPrivate, ip)
	}
	return nil
}

// sharedRange is that of carriers (RFC 6598), which clouds use inside.
var sharedRange = netip.MustParsePrefix("100.64.0.0/10")

// RoundTrip refuses plain HTTP but to loopback, and bounds bodies that are not blobs.
func (b *bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	switch {
	case req.URL.Scheme == "https", req.URL.Scheme == "http" && isLoopback(req.URL.Hostname()):
	default:
		return nil, fmt.Errorf("%s: only https, and plain HTTP to loopback", req.URL.Redacted())
	}
	resp, err := b.inner.RoundTrip(req)
	isBlob := req.Header.Get("Accept") == blobType // Redirects keep it, and requests for tokens do not have it.
	if err == nil && (!isBlob || resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent) {
		resp.Body = &limited{resp.Body, oci.MaxManifest + 1}
	}
	return resp, err
}

// blobType is what requests for blobs accept, whose size is bounded elsewhere.
const blobType = "application/octet-stream"

// limited ends a body with an error when it is too long: libraries read tokens and errors whole.
type limited struct {
	io.ReadCloser
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errors.New("the registry's answer is too long")
	}
	n, err := l.ReadCloser.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

// checkRedirect is that of http.Client. Credentials stay with the host that they are for:
// go-containerregistry adds them by host.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("a redirect leads from https to " + req.URL.Scheme)
	}
	return nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// hostname is a host without its port.
func hostname(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return hostport
	}
	return host
}
