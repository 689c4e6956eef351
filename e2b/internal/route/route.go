// Package route finds out from a request which port of which sandbox it is for: by host name, by
// path, by headers, or as a tunnel. It may import e2b/internal/wire and envd; only packages in and below e2b
// import it.
package route

import (
	"errors"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/rundlet/rundlet/e2b/internal/wire"
	"github.com/rundlet/rundlet/envd"
)

// Target is a TCP port of a sandbox.
type Target struct {
	ID   string
	Port uint16
	// Prefix is the part of the path that addressed it, without a slash at its end: see Strip and
	// Scope. It is empty where the path is the program's.
	Prefix string
}

// Errors of Of and OfTunnel. All are the client's.
var (
	ErrHalfRouted = errors.New("send both " + envd.SandboxIDHeader + " and " + envd.SandboxPortHeader + ", or neither")
	ErrBadTarget  = errors.New("not a sandbox id and port")
	ErrBadPath    = errors.New("the path must begin with " + pathPrefix + "SANDBOX/ports/PORT")
	ErrBadTunnel  = errors.New("CONNECT must name PORT-SANDBOX.DOMAIN:443 or SANDBOX:PORT")
)

var hostPattern = regexp.MustCompile(`^([0-9]{1,5})-([a-z0-9]+)(-[a-z0-9]+)?$`)

// Of returns where a request goes: to a target (data plane, ok is true), to
// the control plane (ok is false), or nowhere (an error, to be answered with
// 400). The rules, in order:
//
//  1. Host "<port>-<id>[-<client>].<x>" is a target, if <x> is domain or domain
//     is empty. A port in domain or Host does not matter.
//  2. The path "/sandbox-proxy/<id>/ports/<port>" and all below it is a target. It wins over
//     the headers, which SDKs also send to a URL with such a path.
//  3. Host "api.<x>" is the control plane, whatever the headers say.
//  4. The routing headers name a target; one without the other is an error.
//     Host is then an address, "localhost", "sandbox.<x>", or any name that an
//     operator gave the machine.
//  5. The rest is the control plane.
func Of(r *http.Request, domain string) (t Target, ok bool, err error) {
	if t, ok, err = ofHost(r.Host, domain); ok || err != nil {
		return t, ok, err
	}
	if t, ok, err = ofPath(r.URL); ok || err != nil {
		return t, ok, err
	}
	if label, rest, _ := strings.Cut(hostname(r.Host), "."); label == "api" && rest != "" {
		return Target{}, false, nil
	}
	id, port := r.Header.Get(envd.SandboxIDHeader), r.Header.Get(envd.SandboxPortHeader)
	switch {
	case id == "" && port == "":
		return Target{}, false, nil
	case id == "" || port == "":
		return Target{}, false, ErrHalfRouted
	}
	t, err = parseTarget(id, port)
	return t, err == nil, err
}

// OfTunnel returns the target of a CONNECT, "<port>-<id>.<x>:<any>" by the rule for hosts, or "<id>:<port>".
func OfTunnel(r *http.Request, domain string) (Target, error) {
	if r.URL.Path != "" { // It is not a CONNECT of a proxy, and Host comes from a header.
		return Target{}, ErrBadTunnel
	}
	if t, ok, err := ofHost(r.Host, domain); ok || err != nil {
		return t, err
	}
	id, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		return Target{}, ErrBadTunnel
	}
	t, err := parseTarget(id, port)
	if err != nil {
		return Target{}, ErrBadTunnel
	}
	return t, nil
}

func ofHost(host, domain string) (t Target, ok bool, err error) {
	label, rest, _ := strings.Cut(hostname(host), ".")
	m := hostPattern.FindStringSubmatch(label)
	if m == nil || rest == "" || domain != "" && rest != hostname(domain) {
		return Target{}, false, nil
	}
	t, err = parseTarget(m[2], m[1])
	return t, err == nil, err
}

func parseTarget(id, port string) (Target, error) {
	parsed, err := wire.ParseID(id)
	if err != nil {
		return Target{}, ErrBadTarget
	}
	// Atoi would take a sign.
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return Target{}, ErrBadTarget
	}
	return Target{ID: parsed, Port: uint16(n)}, nil
}

// hostname is a Host header, or a configured domain, without its port, trailing
// dot and upper case.
func hostname(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
