package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"

	"golang.org/x/crypto/acme"
)

// removeTime bounds the removal of one record when no time is left otherwise: at the end of the
// daemon, or of an attempt that took too long.
const removeTime = 10 * time.Second

// challenge is one that the solver has answered.
type challenge struct {
	authorization, name, value string
	accept                     *acme.Challenge
}

// prove answers the challenges of an order. The records of all are there before the
// authority looks: domain and wildcard have the same name, and resolvers keep answers.
func (m *Manager) prove(ctx context.Context, client *acme.Client, authorizations []string) error {
	var open []challenge
	defer func() {
		for _, c := range open {
			if err := m.remove(ctx, c); err != nil {
				m.cfg.Log.Warn("could not remove the DNS record of a proof", "name", c.name, "error", err)
			}
		}
	}()
	for _, url := range authorizations {
		a, err := client.GetAuthorization(ctx, url)
		if err != nil {
			return fmt.Errorf("authorization: %w", err)
		}
		if a.Status == acme.StatusValid {
			continue // From an earlier order.
		}
		c := challenge{authorization: url, name: "_acme-challenge." + a.Identifier.Value}
		for _, offered := range a.Challenges {
			if offered.Type == "dns-01" {
				c.accept = offered
			}
		}
		if c.accept == nil {
			return fmt.Errorf("the authority offers no proof by DNS for %s", a.Identifier.Value)
		}
		if c.value, err = client.DNS01ChallengeRecord(c.accept.Token); err != nil {
			return err
		}
		open = append(open, c) // It may be there half-way.
		if err := m.cfg.Solver.Present(ctx, c.name, c.value); err != nil {
			return fmt.Errorf("DNS record %s: %w", c.name, err)
		}
	}
	for _, c := range open {
		if _, err := client.Accept(ctx, c.accept); err != nil {
			return fmt.Errorf("proof of %s: %w", c.name, err)
		}
	}
	for _, c := range open {
		if _, err := client.WaitAuthorization(ctx, c.authorization); err != nil {
			return fmt.Errorf("proof of %s: %w", c.name, err)
		}
	}
	return nil
}

// remove takes a record away. A hook may wait until all name servers agree, so it has what is left of
// ctx, and removeTime after that.
func (m *Manager) remove(ctx context.Context, c challenge) error {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(removeTime, cancel) })
	defer stop()
	return m.cfg.Solver.Remove(own, c.name, c.value)
}

// finish takes the certificate of an order that is proved, and keeps it.
func (m *Manager) finish(ctx context.Context, client *acme.Client, order, finalize string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{m.cfg.Host, "*." + m.cfg.Host}}, key)
	if err != nil {
		return nil, err
	}
	chain, _, err := client.CreateOrderCert(ctx, finalize, csr, true)
	if err != nil {
		// An authority may answer before it has signed, without saying where the order is:
		// the client cannot wait for it then.
		if o, waitErr := client.WaitOrder(ctx, order); waitErr == nil && o.CertURL != "" {
			chain, err = client.FetchCert(ctx, o.CertURL, true)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	pair, err := keep(m.cfg.Dir, m.cfg.Host, key, chain)
	if pair != nil && err != nil { // It counts at the authority: it is used as long as the daemon runs.
		m.cfg.Log.Warn("the certificate could not be kept; the next start gets another", "domain", m.cfg.Host, "error", err)
		err = nil
	}
	return pair, err
}
