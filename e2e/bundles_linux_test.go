package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/policy/egress/bundle"
)

// A sandbox with a bundle reaches the hosts of its service, through a pause and a crash of its daemon, and no other host
// of this internet, in which every name has the same address.
func TestASandboxWithABundleReachesItsService(t *testing.T) {
	srv, api, dir := newServer(t)
	web := makeNames(t)
	ctx := t.Context()
	sb, err := api.CreateWith(ctx, client.CreateOptions{Template: "base", Timeout: 20 * time.Minute, Allow: []string{"bundle:pypi"}, Deny: []string{"0.0.0.0/0"}})
	if err != nil {
		t.Fatal(err)
	}
	pypi, npm := bundle.Hosts("pypi"), bundle.Hosts("npm")
	if !slices.Contains(pypi, "pypi.org") || len(npm) < 2 {
		t.Fatalf("the bundles are %q and %q", pypi, npm)
	}
	never := []string{"evil-pypi.org", "pypi.org.evil.example", "upload.pypi.org"}
	check := func(when, shown string, yes, no []string) {
		t.Helper()
		network, err := api.Network(ctx, sb.ID)
		if got := strings.Join(network.Allow, " "); err != nil || got != shown {
			t.Errorf("%s it shows %q, %v, want %q", when, got, err, shown)
		}
		for _, host := range yes {
			// The daemon learns of the way to the internet in a second or two.
			until(t, when+" "+host+" is reached", func() bool { return fetch(t, api, sb, host) == "internet" })
			served := web.count("tls " + host)
			out, err := run(ctx, api, sb, "curl -sSk -m 20 https://"+host+"/")
			if err != nil || out != "internet" || web.count("tls "+host) == served {
				t.Errorf("%s %s over TLS gives %q, %v", when, host, out, err)
			}
		}
		for _, host := range slices.Concat(no, never) {
			asked, served := web.count("dns "+host), web.count("tls "+host)
			if out := fetch(t, api, sb, host); !strings.Contains(out, "Could not resolve") {
				t.Errorf("%s %s gives %q", when, host, out)
			}
			// A program that knows the address gets no further.
			out, err := run(ctx, api, sb, "curl -sSk -m 20 --resolve "+host+":443:"+internetAddr+" https://"+host+"/ 2>&1 || echo failed")
			if err != nil || !strings.HasSuffix(out, "failed\n") || strings.Contains(out, "imed out") {
				t.Errorf("%s %s by its address gives %q, %v", when, host, out, err)
			}
			if web.count("dns "+host) != asked || web.count("tls "+host) != served {
				t.Errorf("%s what is for %s arrives", when, host)
			}
		}
	}
	check("created,", "bundle:pypi", pypi, npm)
	if err := api.Pause(ctx, sb.ID, true); err != nil {
		t.Fatal(err)
	}
	if _, _, err := api.Connect(ctx, sb.ID, 20*time.Minute); err != nil {
		t.Fatal(err)
	}
	check("resumed,", "bundle:pypi", pypi, npm)
	if err := api.SetNetwork(ctx, sb.ID, client.Network{Internet: new(false), Allow: []string{"bundle:npm"}}); err != nil {
		t.Fatal(err)
	}
	check("changed,", "bundle:npm", npm, pypi)
	if err := api.SetNetwork(ctx, sb.ID, client.Network{Internet: new(false), Allow: []string{"bundle:nothing"}}); err == nil || !strings.Contains(err.Error(), "bundles are alpine, ") {
		t.Errorf("a bundle that is not there: %v", err)
	}
	check("refused a change,", "bundle:npm", npm, pypi)
	if err := srv.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-srv.exited
	srv = startServer(t, dir, cold...)
	api = srv.api()
	check("after a crash of the daemon,", "bundle:npm", npm, pypi)
	// The positive control: without its rules all of it is reached.
	if err := api.SetNetwork(ctx, sb.ID, client.Network{}); err != nil {
		t.Fatal(err)
	}
	for _, host := range never {
		for _, known := range []string{"", "--resolve " + host + ":443:" + internetAddr} { // One of the name servers does not answer.
			if out, err := run(ctx, api, sb, "curl -sSk -m 20 "+known+" https://"+host+"/"); err != nil || out != "internet" {
				t.Errorf("without rules %s gives %q, %v", host, out, err)
			}
		}
	}
	list, err := api.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	killAll(t, api, list)
	srv.stop(t)
}
