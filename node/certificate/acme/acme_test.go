package acme

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"

	"github.com/rundlet/rundlet/node/names"
)

// authority is Let's Encrypt's test server, which asks dns for proofs.
func authority(t *testing.T, dns string) (Config, *x509.CertPool) {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "20") // Percent, as clients have to bear it.
	t.Setenv("PEBBLE_AUTHZREUSE", "0")       // Else it remembers some proofs.
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	issuer := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {Description: "default"}})
	front := wfe.New(quiet, store, va.New(quiet, 0, 0, true, dns, store), issuer, []string{"pebble.letsencrypt.org"}, true, false, 0, 0)
	srv := httptest.NewTLSServer(front.Handler())
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(issuer.GetRootCert(0).PEM())
	return Config{Host: "sb.example.com", Dir: t.TempDir(), Directory: srv.URL + wfe.DirectoryPath,
		Email: "ops@example.com", HTTP: srv.Client(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))}, roots
}

func zone(t *testing.T) *names.Server {
	t.Helper()
	s, err := names.Listen(t.Context(), &net.ListenConfig{}, "127.0.0.1:0", "sb.example.com", netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// counting is a solver that knows what it has put into the DNS and not taken away.
type counting struct {
	Solver
	open  int
	calls int
}

func (c *counting) Present(ctx context.Context, name, value string) error {
	c.open++
	c.calls++
	return c.Solver.Present(ctx, name, value)
}

func (c *counting) Remove(ctx context.Context, name, value string) error {
	c.open--
	return c.Solver.Remove(ctx, name, value)
}

func TestACertificateIsGotKeptAndRenewed(t *testing.T) {
	dns := zone(t)
	cfg, roots := authority(t, dns.Addr())
	solver := &counting{Solver: dns}
	cfg.Solver = solver
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	first, err := open(t.Context(), cfg, now)
	if err != nil {
		t.Fatal(err)
	}
	pair, _ := first.GetCertificate(nil)
	intermediates := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		intermediates.AddCert(c)
	}
	for _, name := range []string{"sb.example.com", "api.sb.example.com", "49983-i0.sb.example.com"} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: intermediates}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if solver.calls != 2 || solver.open != 0 {
		t.Errorf("%d records were made, %d are left", solver.calls, solver.open)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	for _, file := range []string{accountFile, certificateFile} {
		if info, err := os.Stat(filepath.Join(first.cfg.Dir, file)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
	// A restart asks no authority.
	offline := cfg
	offline.HTTP = &http.Client{Transport: http.NewFileTransport(http.Dir(t.TempDir()))}
	again, err := Open(t.Context(), offline)
	if err != nil {
		t.Fatal(err)
	}
	if kept, _ := again.GetCertificate(nil); !bytes.Equal(kept.Certificate[0], pair.Certificate[0]) {
		t.Error("a restart has another certificate")
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	// When a third of its time is left another takes its place.
	ahead.Store(int64(time.Until(due(pair)) + time.Minute))
	renewed := make(chan struct{})
	looks := 0
	renewing, err := open(t.Context(), cfg, func() time.Time {
		if looks++; looks == 2 { // The first look found it due; this one is after the renewal.
			close(renewed)
			ahead.Store(0)
		}
		return now()
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-renewed:
	case <-time.After(time.Minute):
		t.Fatal("not renewed")
	}
	if c, _ := renewing.GetCertificate(nil); bytes.Equal(c.Certificate[0], pair.Certificate[0]) {
		t.Error("the last certificate is still served")
	}
	if err := renewing.Close(); err != nil {
		t.Error(err)
	}
}

func TestAProofThatFailsSaysWhy(t *testing.T) {
	cfg, _ := authority(t, zone(t).Addr())
	elsewhere := &counting{Solver: zone(t)} // Records that the authority does not find.
	cfg.Solver = elsewhere
	_, err := Open(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), "_acme-challenge.sb.example.com") {
		t.Errorf("%v", err)
	}
	if elsewhere.open != 0 {
		t.Errorf("%d records are left", elsewhere.open)
	}
	if kept, err := filepath.Glob(filepath.Join(cfg.Dir, "*", certificateFile)); err != nil || len(kept) > 0 {
		t.Errorf("there is a certificate: %q, %v", kept, err)
	}
}

func TestAHookSolves(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "hook")
	script := "#!/bin/sh\necho \"$@\" >>" + dir + "/calls\n[ \"$2\" != bad ] || { echo no such zone; exit 3; }\n"
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	hook := Hook(program)
	if err := errors.Join(hook.Present(t.Context(), "name", "value"), hook.Remove(t.Context(), "name", "value")); err != nil {
		t.Fatal(err)
	}
	if calls, _ := os.ReadFile(dir + "/calls"); string(calls) != "present name value\nremove name value\n" {
		t.Errorf("calls %q", calls)
	}
	if err := hook.Present(t.Context(), "bad", "value"); err == nil || !strings.Contains(err.Error(), "no such zone") {
		t.Errorf("%v", err)
	}
}

// A file that cannot be used is an error for the account, and no loss for the certificate.
func TestDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"", "garbage", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		for _, file := range []string{accountFile, certificateFile} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := accountKey(dir); err == nil || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%q: %v", text, err)
		}
		if _, err := load(dir, "sb.example.com"); err == nil {
			t.Errorf("%q is a certificate", text)
		}
	}
}

// What an authority has issued counts there, so it is used although it cannot be kept.
func TestACertificateThatCannotBeKeptIsUsed(t *testing.T) {
	dns := zone(t)
	cfg, _ := authority(t, dns.Addr())
	solver := &obstructing{Solver: dns, dir: cfg.Dir}
	cfg.Solver = solver
	m, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if pair, err := m.GetCertificate(nil); err != nil || pair.Leaf.VerifyHostname("x.sb.example.com") != nil {
		t.Errorf("%v, %v", pair, err)
	}
	if err := errors.Join(m.Close(), solver.err); err != nil {
		t.Error(err)
	}
}

// obstructing puts something in the place of the certificate before it comes.
type obstructing struct {
	Solver
	dir string
	err error
}

func (o *obstructing) Remove(ctx context.Context, name, value string) error {
	accounts, _ := filepath.Glob(filepath.Join(o.dir, "*", accountFile))
	for _, file := range accounts {
		o.err = errors.Join(o.err, os.MkdirAll(filepath.Join(filepath.Dir(file), certificateFile, "x"), 0o700))
	}
	return o.Solver.Remove(ctx, name, value)
}

// With a clock that runs ahead each certificate is due at once; it is not asked for again
// and again.
func TestAWrongClockAsksForOneCertificateInTwoDays(t *testing.T) {
	dns := zone(t)
	cfg, _ := authority(t, dns.Addr())
	solver := &counting{Solver: dns}
	cfg.Solver = solver
	looks := make(chan struct{}, 100)
	m, err := open(t.Context(), cfg, func() time.Time {
		looks <- struct{}{}
		return time.Now().Add(20 * 365 * 24 * time.Hour)
	})
	if err != nil {
		t.Fatal(err)
	}
	<-looks                           // It is due,
	<-looks                           // is renewed, and found due again.
	if err := m.Close(); err != nil { // It ends a wait, and not an order.
		t.Error(err)
	}
	if solver.calls != 4 || len(looks) > 0 {
		t.Errorf("%d records were made for the first certificate and its renewal, %d looks", solver.calls, len(looks))
	}
	got := kept(m.cfg.Dir)
	for age, want := range map[time.Duration]bool{0: false, time.Hour: false, renewInterval: true, -time.Hour: true} {
		if rested(got, got.Add(age)) != want {
			t.Errorf("%v after a certificate another one is asked for: %v", age, !want)
		}
	}
	if now := time.Now(); now.Sub(got) > time.Minute || !rested(kept(t.TempDir()), now) {
		t.Errorf("the certificate was kept at %v, now it is %v", got, now)
	}
}

// dawdling is a solver whose removals take until their context ends.
type dawdling struct{ Solver }

func (dawdling) Remove(ctx context.Context, _, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

// A removal may take as long as the attempt has, and ends a while after it.
func TestARemovalIsNotHurried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempt, end := context.WithTimeout(t.Context(), obtainTime)
		defer end()
		m, start := &Manager{cfg: Config{Solver: dawdling{}}}, time.Now()
		if err := m.remove(attempt, challenge{}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if took := time.Since(start); took != obtainTime+removeTime {
			t.Errorf("it had %v", took)
		}
	})
}
