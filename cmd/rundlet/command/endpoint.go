package command

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node/daemon"
	"github.com/rundlet/rundlet/node/statedir"
)

// Endpoint is that of this host's daemon, or the default one.
func Endpoint(dirs layout.Layout) statedir.Endpoint {
	if e := statedir.ReadEndpoint(dirs); e.URL != "" {
		return e
	}
	return statedir.Endpoint{URL: "http://" + daemon.DefaultListen}
}

// clientOf is the client of an endpoint on this host, without a key. It needs no name to
// resolve, and trusts what the endpoint says.
func clientOf(e statedir.Endpoint) (client.API, error) {
	if e.Domain == "" {
		return client.API{URL: e.URL}, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if e.Root != "" {
		roots, err := os.ReadFile(e.Root)
		if err != nil {
			return client.API{}, fmt.Errorf("certificate of the daemon: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(roots)
	}
	var dialer net.Dialer
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, e.Address)
		}}
	// This name serves requests of the API and, by their headers, of sandboxes.
	return client.API{HTTP: &http.Client{Transport: transport}, URL: "https://sandbox." + e.Domain}, nil
}

// Environment says how an SDK reaches the daemon: by its domain if it has certificates, and
// otherwise by two URLs. Node and Deno add a file of certificates to what they trust; OpenSSL,
// Python and Go read one file instead of the system's.
func Environment(e statedir.Endpoint) [][2]string {
	if e.Domain == "" {
		return [][2]string{{"E2B_API_URL", e.URL}, {"E2B_SANDBOX_URL", e.URL}}
	}
	vars := [][2]string{{"E2B_DOMAIN", e.Domain}}
	if e.Root != "" {
		vars = append(vars, [2]string{"NODE_EXTRA_CA_CERTS", e.Root}, [2]string{"DENO_CERT", e.Root},
			[2]string{"SSL_CERT_FILE", e.Bundle}, [2]string{"REQUESTS_CA_BUNDLE", e.Bundle})
	}
	return vars
}

// plain is what a shell takes as it is.
var plain = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)

// Quote writes a word for a shell.
func Quote(s string) string {
	if plain.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
