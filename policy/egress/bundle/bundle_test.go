package bundle_test

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/publicsuffix"

	"github.com/rundlet/rundlet/network/names"
	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/policy/egress/bundle"
	"github.com/rundlet/rundlet/sandbox"
)

// patterns are the names that a sandbox with these entries reaches, as the network gets them.
func patterns(t *testing.T, entries ...string) []string {
	t.Helper()
	p, err := egress.Compile(nil, sandbox.Egress{Allow: entries, Deny: []string{"0.0.0.0/0"}})
	if err != nil {
		t.Fatal(err)
	}
	return p.Names
}

// all are the entries for all bundles.
func all() (entries []string) {
	for _, name := range bundle.Names() {
		entries = append(entries, bundle.Prefix+name)
	}
	return entries
}

// ownSuffixes are public suffixes below which the service alone has names: they are there to separate cookies.
var ownSuffixes = []string{"githubusercontent.com"}

func TestBundlesAreWellFormed(t *testing.T) {
	if n := len(bundle.Names()); n < 15 || !slices.IsSorted(bundle.Names()) {
		t.Errorf("%d bundles: %q", n, bundle.Names())
	}
	for _, name := range bundle.Names() {
		hosts := bundle.Hosts(name)
		// Compile checks, sorts and compacts.
		if got := patterns(t, hosts...); len(hosts) == 0 || !slices.Equal(got, hosts) || !slices.Equal(patterns(t, bundle.Prefix+name), hosts) {
			t.Errorf("%s has %q, which is %q", name, hosts, got)
		}
		for i, host := range hosts {
			label := strings.Replace(host, "*", "label", 1)
			if others := slices.Delete(slices.Clone(hosts), i, i+1); names.Match(others, label, 0) {
				t.Errorf("%s: %s is within %q", name, host, others)
			}
			owner := strings.TrimPrefix(host, "*.")
			if suffix, _ := publicsuffix.PublicSuffix(owner); suffix == owner && !slices.Contains(ownSuffixes, owner) {
				t.Errorf("%s: names below %s are of anybody", name, owner)
			}
		}
	}
	if all := patterns(t, all()...); len(all) >= egress.MaxEntries {
		t.Errorf("all bundles have %d names, which is not less than a list may have", len(all))
	}
	if hosts := bundle.Hosts("nothing"); hosts != nil {
		t.Errorf("a bundle that is not there: %q", hosts)
	}
	bundle.Hosts("pypi")[0] = "changed"
	if bundle.Hosts("pypi")[0] == "changed" {
		t.Error("a caller can change a bundle")
	}
}

// Names beside those of a bundle have other owners.
func TestABundleDoesNotReachItsNeighbours(t *testing.T) {
	everything := patterns(t, all()...)
	for _, name := range bundle.Names() {
		for _, host := range bundle.Hosts(name) {
			owner, wild := strings.CutPrefix(host, "*.")
			if below := "label." + owner; names.Match(everything, below, 0) != (wild || slices.Contains(everything, "*."+owner)) {
				t.Errorf("%s has %s, and %s is reached: %v", name, host, below, !wild)
			}
			for _, neighbour := range []string{"evil-" + owner, "evil" + owner, owner + ".evil.example", "evil." + owner + ".example", strings.ReplaceAll(owner, ".", "-") + ".example"} {
				if names.Match(everything, neighbour, 0) {
					t.Errorf("%s of %s reaches %s", host, name, neighbour)
				}
			}
		}
	}
}

// What anybody can rent is in no bundle: its tenants could be sent anything.
func TestNoBundleReachesSharedHosts(t *testing.T) {
	everything := patterns(t, all()...)
	for _, host := range []string{
		"storage.googleapis.com", "evil.storage.googleapis.com", "s3.amazonaws.com", "evil.s3.amazonaws.com", "evil.s3.us-east-1.amazonaws.com", "d111111abcdef8.cloudfront.net",
		"evil.blob.core.windows.net", "evil.azureedge.net", "evil.r2.cloudflarestorage.com", "evil.r2.dev", "evil.workers.dev", "evil.pages.dev", "evil.map.fastly.net",
		"evil.github.io", "evil.github.dev", "evil.hf.space", "evil.endpoints.huggingface.cloud", "evil.ingest.sentry.io", "evil.web.app", "evil.vercel.app",
		"localhost", "metadata.google.internal", "example.com", "127.0.0.1",
	} {
		if names.Match(everything, host, 0) {
			t.Errorf("%s is reached", host)
		}
		if host != "127.0.0.1" && !names.Match([]string{"*"}, host, 0) {
			t.Errorf("%s is not a host name", host)
		}
	}
}
