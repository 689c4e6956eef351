package dataplane

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
}

// Errors of Classify. Both are the client's.
var (
	ErrHalfRouted = errors.New("send both " + envd.SandboxIDHeader + " and " + envd.SandboxPortHeader + ", or neither")
	ErrBadTarget  = errors.New("not a sandbox id and port")
)

var hostPattern = regexp.MustCompile(`^([0-9]{1,5})-([a-z0-9]+)(-[a-z0-9]+)?$`)

// Classify returns where a request goes: to a target (data plane, ok is true), to
// the control plane (ok is false), or nowhere (an error, to be answered with
// 400). The rules, in order:
//
//  1. Host "api.<x>" is the control plane, whatever the headers say.
//  2. Host "<port>-<id>[-<client>].<x>" is a target, if <x> is domain or domain
//     is empty. A port in domain or Host does not matter.
//  3. The routing headers name a target; one without the other is an error.
//     Host is then an address, "localhost", "sandbox.<x>", or any name that an
//     operator gave the machine.
//  4. The rest is the control plane.
func Classify(host string, h http.Header, domain string) (t Target, ok bool, err error) {
	label, rest, _ := strings.Cut(hostname(host), ".")
	if label == "api" && rest != "" {
		return Target{}, false, nil
	}
	if m := hostPattern.FindStringSubmatch(label); m != nil && rest != "" && (domain == "" || rest == hostname(domain)) {
		t, err = parseTarget(m[2], m[1])
		return t, err == nil, err
	}
	id, port := h.Get(envd.SandboxIDHeader), h.Get(envd.SandboxPortHeader)
	switch {
	case id == "" && port == "":
		return Target{}, false, nil
	case id == "" || port == "":
		return Target{}, false, ErrHalfRouted
	}
	t, err = parseTarget(id, port)
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
