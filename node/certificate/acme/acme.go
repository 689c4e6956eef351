// Package acme gets the certificate of a domain, and of all names one label below it, from
// a public authority by the protocol ACME, and renews it. A wildcard is proved by DNS only.
//
// It may import golang.org/x/crypto/acme, renameio and internal/retry; node/daemon imports it.
package acme

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/rundlet/rundlet/internal/retry"
)

// LetsEncrypt is the directory that is asked unless another is given.
const LetsEncrypt = acme.LetsEncryptURL

// Solver puts TXT records into the DNS, where the authority looks for them. It may be called
// from one goroutine at a time.
type Solver interface {
	// Present adds a value to the records of a name, and returns when they are served.
	Present(ctx context.Context, name, value string) error
	// Remove takes it away again.
	Remove(ctx context.Context, name, value string) error
}

// Config says what to get, and from where.
type Config struct {
	// Host is the domain, without a port.
	Host string
	// A directory in Dir for each authority keeps the key of the account and the certificate with its key. It must not be
	// readable by others; Open makes it.
	Dir string
	// Directory is the URL of the authority; LetsEncrypt if empty. To use it is to accept its terms.
	Directory string
	// Email is where the authority writes to; it may be empty.
	Email string
	// Solver proves the control of the domain.
	Solver Solver
	// HTTP asks the authority; http.DefaultClient if nil.
	HTTP *http.Client
	// Log is the log of renewals.
	Log *slog.Logger
}

const (
	// obtainTime bounds an attempt. Authorities take seconds, and DNS at most minutes.
	obtainTime = 5 * time.Minute
	// lookInterval is how often the clock is looked at: it may jump.
	lookInterval = time.Hour
	// renewInterval is the least time between two certificates. A wrong clock makes each due at once,
	// and Let's Encrypt gives five of the same names in a week.
	renewInterval = 48 * time.Hour
)

// pauses are between attempts that failed. Authorities count failures by the hour.
var pauses = retry.Pauses{First: 5 * time.Minute, Most: 6 * time.Hour}

// Manager is a certificate that is renewed. It implements certificate.Source.
type Manager struct {
	cfg  Config
	now  func() time.Time
	stop context.CancelFunc
	done chan struct{}

	mu   sync.Mutex
	pair *tls.Certificate // guarded by mu
}

// Open returns the certificate that Dir has, or gets the first one, which takes seconds.
// It is renewed when a third of its time is left, until Close. A certificate whose time is over
// is better than none: clients then say what is wrong, and the daemon runs.
func Open(ctx context.Context, cfg Config) (*Manager, error) { return open(ctx, cfg, time.Now) }

func open(ctx context.Context, cfg Config, now func() time.Time) (*Manager, error) {
	if cfg.Directory == "" {
		cfg.Directory = LetsEncrypt
	}
	// Each authority has its files: a certificate of one for tests must not stay in use.
	sum := sha256.Sum256([]byte(cfg.Directory))
	cfg.Dir = filepath.Join(cfg.Dir, hex.EncodeToString(sum[:4]))
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	m := &Manager{cfg: cfg, now: now, done: make(chan struct{})}
	pair, err := load(cfg.Dir, cfg.Host)
	if err != nil {
		cfg.Log.Info("getting a certificate", "domain", cfg.Host, "authority", cfg.Directory, "why", err)
		if pair, err = m.obtain(ctx); err != nil {
			return nil, fmt.Errorf("certificate for %s from %s: %w", cfg.Host, cfg.Directory, err)
		}
	}
	m.pair = pair
	ctx, m.stop = context.WithCancel(context.WithoutCancel(ctx))
	go m.renew(ctx)
	return m, nil
}

// Close ends the renewals, and waits until none runs.
func (m *Manager) Close() error {
	m.stop()
	<-m.done
	return nil
}

// GetCertificate implements certificate.Source.
func (m *Manager) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pair, nil
}

// due is when a certificate is renewed.
func due(pair *tls.Certificate) time.Time {
	leaf := pair.Leaf
	return leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 3)
}

func (m *Manager) renew(ctx context.Context) {
	defer close(m.done)
	last := kept(m.cfg.Dir)
	for {
		pair, _ := m.GetCertificate(nil)
		now := m.now()
		wait := due(pair).Sub(now)
		if wait <= 0 && rested(last, now) {
			err := pauses.Do(ctx, func() error { return m.replace(ctx) }, func(err error, pause time.Duration) {
				m.cfg.Log.Warn("the certificate could not be renewed; the last one stays in use", "domain", m.cfg.Host,
					"ends", pair.Leaf.NotAfter, "error", err, "retry_in", pause)
			})
			if err != nil {
				return // ctx has ended.
			}
			last = m.now()
			if pair, _ := m.GetCertificate(nil); !last.Before(due(pair)) {
				m.cfg.Log.Warn("the new certificate is due again; the clock of this machine may be wrong", "domain", m.cfg.Host, "ends", pair.Leaf.NotAfter)
			}
		}
		if wait <= 0 {
			wait = lookInterval
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(wait, lookInterval)):
		}
	}
}

// rested reports whether the last certificate was got long enough ago, or in the future: then
// the clock was wrong.
func rested(last, now time.Time) bool {
	age := now.Sub(last)
	return age < 0 || age >= renewInterval
}

// replace gets a new certificate, and serves it from now on.
func (m *Manager) replace(ctx context.Context) error {
	pair, err := m.obtain(ctx)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.pair = pair
	m.mu.Unlock()
	m.cfg.Log.Info("renewed the certificate", "domain", m.cfg.Host, "ends", pair.Leaf.NotAfter)
	return nil
}

// obtain gets a certificate and keeps it in Dir.
func (m *Manager) obtain(ctx context.Context) (_ *tls.Certificate, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, obtainTime, errors.New("no certificate within "+obtainTime.String()))
	defer cancel()
	key, err := accountKey(m.cfg.Dir)
	if err != nil {
		return nil, err
	}
	client := &acme.Client{Key: key, DirectoryURL: m.cfg.Directory, HTTPClient: m.cfg.HTTP, UserAgent: "rundlet"}
	account := &acme.Account{}
	if m.cfg.Email != "" {
		account.Contact = []string{"mailto:" + m.cfg.Email}
	}
	if _, err := client.Register(ctx, account, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return nil, fmt.Errorf("register: %w", err)
	}
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(m.cfg.Host, "*."+m.cfg.Host))
	if err != nil {
		return nil, fmt.Errorf("order: %w", err)
	}
	if err := m.prove(ctx, client, order.AuthzURLs); err != nil {
		return nil, err
	}
	ready, err := client.WaitOrder(ctx, order.URI)
	if err != nil {
		return nil, fmt.Errorf("order: %w", err)
	}
	return m.finish(ctx, client, order.URI, ready.FinalizeURL)
}
