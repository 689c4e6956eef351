package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

// namesProber does all the time what its sandbox may, and what it may not, with names.
const namesProber = `
import socket, ssl, struct, sys, threading, time
internet, server, allowed, forbidden = sys.argv[1:]
def forever(do, every):
    while True:
        try: do()
        except OSError: pass
        time.sleep(every)
def question(name):
    return struct.pack(">6H", 7, 256, 1, 0, 0, 0) + b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + struct.pack(">B2H", 0, 1, 1)
def ask(name):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(question(name), (server, 53))
    s.close()
def tls(name, to):
    context = ssl._create_unverified_context()
    with socket.create_connection((to, 443), 5) as raw, context.wrap_socket(raw, server_hostname=name) as s:
        s.sendall(("GET / HTTP/1.0\r\nHost: %s\r\n\r\n" % allowed).encode())
        s.recv(100)
def http(name, to):
    with socket.create_connection((to, 80), 5) as s:
        s.sendall(("GET / HTTP/1.0\r\nHost: %s\r\n\r\n" % name).encode())
        s.recv(100)
def beat():
    to = socket.gethostbyname(allowed)
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(b"allowed to " + internet.encode(), (to, 7))
    s.close()
count = 0
def leak():
    global count
    count += 1
    ask("x%d.%s" % (count, forbidden))
    ask(forbidden)
for do, every in [
    (leak, 0.05), (lambda: tls(forbidden, internet), 0.1), (lambda: http(forbidden, internet), 0.1),
    (lambda: tls(allowed, allowed), 0.1), (beat, 0.05),
]:
    threading.Thread(target=forever, args=(do, every)).start()
`

// A sandbox with a name tries all the time what the name opens, and what it does not, through everything that happens to a
// sandbox and to its daemon. What is allowed arrives after each step, and what is not never does.
func TestANameHoldsWhateverHappens(t *testing.T) {
	srv, api, dir := newServer(t)
	web := makeNames(t)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	sb, err := api.CreateWith(ctx, client.CreateOptions{Template: "base", Timeout: 20 * time.Minute, Allow: []string{allowedHost}, Deny: []string{"0.0.0.0/0"}})
	must(err)
	harmless := func(when string) {
		t.Helper()
		web.check(t, when)
		if bad := web.wrong(); len(bad) > 0 {
			t.Fatalf("%s what is for other hosts arrives: %q", when, bad)
		}
	}
	beat := func(when string) {
		t.Helper()
		web.await(t, when)
		served := web.count("tls " + allowedHost)
		until(t, when+" TLS works", func() bool { return web.count("tls "+allowedHost) > served })
		harmless(when)
	}
	// The daemon learns of the way to the internet in a second or two.
	until(t, "what is allowed is reached", func() bool { return fetch(t, api, sb, allowedHost) == "internet" })
	// A person at a terminal sees at once what is wrong.
	for target, want := range map[string]string{forbiddenHost: "Could not resolve", internetAddr: "eset", farAddr + ":81": "failed"} {
		if out := fetch(t, api, sb, target); !strings.Contains(out, want) || strings.Contains(out, "imed out") {
			t.Errorf("%s gives %q, want %q", target, out, want)
		}
	}
	must(upload(ctx, api, sb, "/home/user/probe.py", namesProber))
	start := "nohup python3 ~/probe.py " + strings.Join([]string{internetAddr, nameServer, allowedHost, forbiddenHost}, " ") + " >/dev/null 2>&1 & disown"
	if _, err := run(ctx, api, sb, start); err != nil {
		t.Fatal(err)
	}
	beat("created,")
	until(t, "what is refused is recorded", func() bool {
		refused, err := api.Refused(ctx, sb.ID)
		must(err)
		seen := map[string]bool{}
		for _, r := range refused {
			seen[r.Protocol+" "+r.Name] = true
		}
		return seen["dns "+forbiddenHost] && seen["tcp "+forbiddenHost]
	})
	must(api.Pause(ctx, sb.ID, true))
	_, _, err = api.Connect(ctx, sb.ID, 20*time.Minute)
	must(err)
	beat("resumed,")
	children, err := api.Fork(ctx, sb.ID, 1, 20*time.Minute)
	must(err)
	if children[0].Error != nil {
		t.Fatal(children[0].Error)
	}
	if out := fetch(t, api, *children[0].Sandbox, allowedHost); out != "internet" {
		t.Errorf("a child gets %q", out)
	}
	beat("forked,")
	srv, api = throughLosses(t, srv, dir, beat, harmless) // The daemon answers questions, and passes TLS on.

	// The positive control: without its rules all of it arrives.
	must(api.SetNetwork(ctx, sb.ID, client.Network{}))
	for _, what := range []string{"tls " + forbiddenHost, "dns " + forbiddenHost} {
		until(t, what+" arrives without rules", func() bool { return web.count(what) > 0 })
	}
	must(api.SetNetwork(ctx, sb.ID, client.Network{Internet: new(false), Allow: []string{"*.example"}}))
	if out := fetch(t, api, sb, forbiddenHost); out != "internet" {
		t.Errorf("with a wildcard: %q", out)
	}
	list, err := api.List(ctx)
	must(err)
	killAll(t, api, list)
	srv.stop(t)
}
