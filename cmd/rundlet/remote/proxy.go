package remote

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rundlet/rundlet/client"
)

// proxyFlags say where a sandbox's TCP goes through.
type proxyFlags struct {
	address, login, ca string
	encrypted, none    bool
}

func (p *proxyFlags) add(f *pflag.FlagSet) {
	f.StringVar(&p.address, "proxy", "", "SOCKS5 proxy that connections go through, as HOST:PORT")
	f.StringVar(&p.login, "proxy-login", "", "its user name and password, as env:VARIABLE or file:PATH with USER:PASSWORD")
	f.BoolVar(&p.encrypted, "proxy-tls", false, "speak TLS to the proxy")
	f.StringVar(&p.ca, "proxy-ca", "", "file with the authorities that its certificate is checked by")
	f.BoolVar(&p.none, "no-proxy", false, "connect without a proxy")
}

// changes reports whether a flag is given.
func (p *proxyFlags) changes() bool { return *p != proxyFlags{} }

// of is the proxy that a sandbox has afterwards, if it has one now. One whose password the server does not return cannot be
// kept.
func (p *proxyFlags) of(now *client.Proxy) (*client.Proxy, error) {
	switch {
	case p.none && *p != proxyFlags{none: true}:
		return nil, errors.New("--no-proxy cannot be given with other flags of a proxy")
	case p.none:
		return nil, nil
	case p.address == "" && p.changes():
		return nil, errors.New("--proxy-login, --proxy-tls and --proxy-ca need --proxy")
	case p.address == "" && now != nil && (now.Username != "" || now.TLS):
		return nil, fmt.Errorf("connections go through the proxy %s, of which the server does not show all: repeat --proxy and its flags, or give --no-proxy", now.Address)
	case p.address == "":
		return now, nil
	}
	out := &client.Proxy{Address: p.address, TLS: p.encrypted || p.ca != ""}
	if p.login != "" {
		text, err := secretOf(p.login)
		if err != nil {
			return nil, fmt.Errorf("--proxy-login: %w", err)
		}
		out.Username, out.Password, _ = strings.Cut(text, ":")
	}
	if p.ca != "" {
		text, err := os.ReadFile(p.ca)
		if err != nil {
			return nil, fmt.Errorf("--proxy-ca: %w", err)
		}
		out.CACert = string(text)
	}
	return out, nil
}

// proxyText is a proxy as it is printed.
func proxyText(p *client.Proxy) string {
	text := p.Address
	if p.Username != "" {
		text = p.Username + "@" + text
	}
	if p.TLS {
		text += " (TLS)"
	}
	return text
}
