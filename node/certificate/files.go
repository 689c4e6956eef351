package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookInterval is how often Files looks whether its files have changed.
const lookInterval = 30 * time.Second

// Files is a Source of the certificate in two files, which somebody else renews. A
// renewal needs no restart.
type Files struct {
	cert, key string
	host      string
	log       *slog.Logger
	now       func() time.Time

	mu     sync.Mutex
	pair   *tls.Certificate // guarded by mu
	stamp  string           // Of the files that were tried last; guarded by mu
	looked time.Time        // guarded by mu
}

// OpenFiles reads a certificate with its chain, and its key, both PEM. It is an error if
// the certificate is not for host, or now is not in its time; it is logged if it has no name
// for what is below host.
func OpenFiles(cert, key, host string, log *slog.Logger) (f *Files, err error) {
	f = &Files{cert: cert, key: key, host: host, log: log, now: time.Now}
	f.stamp, f.looked = stampOf(cert, key), f.now() // Before they are read: a change in between is seen.
	if f.pair, err = f.load(); err != nil {
		return nil, err
	}
	f.warn(f.pair)
	return f, nil
}

func (f *Files) warn(pair *tls.Certificate) {
	if f.host != "" && pair.Leaf.VerifyHostname("80-i0."+f.host) != nil {
		f.log.Warn("the certificate has no wildcard, so clients cannot reach sandboxes by host name", "file", f.cert, "needs", "*."+f.host)
	}
}

// load reads the files, and refuses a certificate that clients would refuse.
func (f *Files) load() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("certificate in %s with the key in %s: %w", f.cert, f.key, err)
	}
	leaf := pair.Leaf
	switch now := f.now(); {
	case now.After(leaf.NotAfter):
		return nil, fmt.Errorf("certificate in %s ended on %s", f.cert, leaf.NotAfter.Format(time.DateOnly))
	case now.Before(leaf.NotBefore):
		return nil, fmt.Errorf("certificate in %s begins at %s, and now it is %s", f.cert, leaf.NotBefore.Format(time.RFC3339), now.Format(time.RFC3339))
	}
	if f.host == "" {
		return &pair, nil
	}
	if err := leaf.VerifyHostname("api." + f.host); err != nil {
		return nil, fmt.Errorf("certificate in %s: %w", f.cert, withoutCommonName(err))
	}
	return &pair, nil
}

// withoutCommonName keeps the first line of an error of x509.
func withoutCommonName(err error) error {
	var h x509.HostnameError
	if errors.As(err, &h) {
		return fmt.Errorf("it is for %v, and not for %s", h.Certificate.DNSNames, h.Host)
	}
	return err
}

// GetCertificate implements Source. If new files are not valid, the last certificate that
// was stays in use, and the reason is logged.
func (f *Files) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if age := now.Sub(f.looked); age >= 0 && age < lookInterval {
		return f.pair, nil
	}
	f.looked = now
	stamp := stampOf(f.cert, f.key)
	if stamp == f.stamp {
		return f.pair, nil
	}
	pair, err := f.load()
	if err != nil {
		f.log.Warn("the renewed certificate cannot be used; the last one stays in use", "file", f.cert, "error", err)
		return f.pair, nil // The two files may be half-way; stamp says to try again.
	}
	f.pair, f.stamp = pair, stamp
	f.log.Info("took over a renewed certificate", "file", f.cert, "ends", pair.Leaf.NotAfter)
	f.warn(pair)
	return f.pair, nil
}

// stampOf changes when one of the files does.
func stampOf(files ...string) (stamp string) {
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			stamp += fmt.Sprint(info.ModTime().UnixNano(), info.Size(), ";")
		}
	}
	return stamp
}
