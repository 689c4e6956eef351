package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/rundlet/rundlet/node/certificate"
	"github.com/rundlet/rundlet/node/certificate/acme"
	"github.com/rundlet/rundlet/node/names"
	"github.com/rundlet/rundlet/node/statedir"
)

// DefaultDomain is that of TLS.Local. Programs resolve names below localhost to this
// machine, or can be made to.
const DefaultDomain = "e2b.localhost:8443"

// TLS says where the certificates of the listener come from: one of Local, ACME, and the two
// files.
type TLS struct {
	// Local takes those of an authority that belongs to the state directory. Clients have to
	// trust it.
	Local bool
	// CertFile and KeyFile are PEM files that somebody else renews, for Domain and all
	// names below it.
	CertFile, KeyFile string
	// ACME takes those of a public authority, which Domain is proved to by DNS: by
	// Config.NamesListen, where the world asks for the domain, or by ACMEHook.
	ACME bool
	// ACMEEmail and ACMEDirectory are as in acme.Config, and ACMEHook is an acme.Hook; each may be empty.
	ACMEEmail, ACMEDirectory, ACMEHook string
}

func (t TLS) on() bool { return t.Local || t.ACME || t.CertFile+t.KeyFile != "" }

// completeAddress fills in Domain and Listen, and refuses those that do not fit TLS.
func (c *Config) completeAddress() error {
	switch t := c.TLS; {
	case (t.Local || t.ACME) && t.CertFile+t.KeyFile != "", t.Local && t.ACME:
		return errors.New("certificates are local, from ACME or from files; choose one")
	case (t.CertFile == "") != (t.KeyFile == ""):
		return errors.New("a certificate file and a key file belong together")
	case t.Local && c.Domain == "":
		c.Domain = DefaultDomain
	case t.on() && c.Domain == "":
		return errors.New("TLS needs a domain, which the certificate is for")
	case t.ACME && c.NamesListen == "" && t.ACMEHook == "":
		return errors.New("ACME needs a proof by DNS: a DNS server here that the world asks for the domain, or a hook that changes the records")
	case c.NamesListen != "" && c.Domain == "":
		return errors.New("a DNS server needs a domain to serve")
	}
	host, port := certificate.SplitDomain(c.Domain)
	if c.TLS.on() || c.NamesListen != "" {
		if err := certificate.CheckHost(host); err != nil {
			return err
		}
	}
	if c.Listen == "" {
		c.Listen = DefaultListen
		if c.TLS.on() {
			c.Listen = net.JoinHostPort("127.0.0.1", orHTTPS(port))
		}
	}
	return nil
}

// orHTTPS is a port, or that of HTTPS.
func orHTTPS(port string) string {
	if port == "" {
		return "443"
	}
	return port
}

// secure gives the listener of a front its certificates, and its endpoint the names and
// files that clients need.
//
// The caller closes what is returned, which may be nil.
func (c *Config) secure(ctx context.Context, f *front, dns *names.Server) (io.Closer, error) {
	if !c.TLS.on() {
		return nil, nil
	}
	host, _ := certificate.SplitDomain(c.Domain)
	f.endpoint = statedir.Endpoint{
		URL: "https://api." + c.Domain, Domain: c.Domain, Address: reachable(f.listener.Addr().(*net.TCPAddr)),
	}
	source, err := c.certificates(ctx, host, &f.endpoint, dns)
	if err != nil {
		return nil, err
	}
	f.tls = certificate.Server(source)
	closer, _ := source.(io.Closer)
	return closer, nil
}

func (c *Config) certificates(ctx context.Context, host string, e *statedir.Endpoint, dns *names.Server) (certificate.Source, error) {
	log := c.Node.Log
	switch t := c.TLS; {
	case t.CertFile != "":
		return certificate.OpenFiles(t.CertFile, t.KeyFile, host, log)
	case t.ACME:
		var solver acme.Solver = dns
		if t.ACMEHook != "" {
			solver = acme.Hook(t.ACMEHook)
		}
		return acme.Open(ctx, acme.Config{
			Host: host, Dir: filepath.Join(c.Node.Dirs.Certificates(host), "acme"), Directory: t.ACMEDirectory, Email: t.ACMEEmail, Solver: solver, Log: log,
		})
	}
	authority, err := certificate.OpenAuthority(c.Node.Dirs.Certificates(host), host, time.Now())
	if err != nil {
		return nil, err
	}
	if authority.Renewed {
		log.Warn("the certificate authority was renewed before its end; clients have to trust the new one", "file", authority.Root)
	}
	e.Root, e.Bundle = authority.Root, authority.Bundle
	return certificate.NewLocal(authority), nil
}

// serveNames answers DNS queries for the domain until the server is closed: all its names
// are at NamesAddress; if there is none, at the address that the daemon listens at, or that
// of the DNS server, or this machine if both are any. The server is nil if there is no address for
// it to listen at.
func (c *Config) serveNames(ctx context.Context, at *net.TCPAddr) (*names.Server, error) {
	if c.NamesListen == "" {
		return nil, nil
	}
	address, _ := netip.AddrFromSlice(at.IP)
	address = address.Unmap()
	if c.NamesAddress.IsValid() {
		address = c.NamesAddress
	} else if address.IsUnspecified() {
		address = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if own, err := netip.ParseAddrPort(c.NamesListen); err == nil && !own.Addr().IsUnspecified() {
			address = own.Addr()
		}
	}
	host, _ := certificate.SplitDomain(c.Domain)
	server, err := names.Listen(ctx, c.Sockets, c.NamesListen, host, address)
	if err != nil {
		return nil, fmt.Errorf("--dns: %w", err)
	}
	c.Node.Log.Info("serving names", "domain", host, "dns", server.Addr(), "address", address)
	return server, nil
}
