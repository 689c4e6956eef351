package e2e

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

// askers get /key of the host with TLS, each with the store of certificates that it brings.
var askers = []struct{ name, command, proto string }{
	{"curl", "curl -sS https://HOST/key", "HTTP/2.0"},
	{"curl with HTTP/1.1", "curl -sS --http1.1 https://HOST/key", "HTTP/1.1"},
	{"curl with a key that it made up", "curl -sS -H 'X-Key: mine' -H 'x-key: another' https://HOST/key", "HTTP/2.0"},
	{"curl of root", "sudo curl -sS https://HOST/key", "HTTP/2.0"},
	{"curl without a variable", "env -i curl -sS https://HOST/key", "HTTP/2.0"},
	{"curl without TLS", "curl -sS http://HOST/key", "HTTP/1.1"},
	{"wget", "wget -qO- https://HOST/key", "HTTP/1.1"},
	{"Python", `python3 -c 'import urllib.request as r; print(r.urlopen("https://HOST/key").read().decode())'`, "HTTP/1.1"},
	{"Python without a variable", `env -i python3 -c 'import urllib.request as r; print(r.urlopen("https://HOST/key").read().decode())'`, "HTTP/1.1"},
	{"Node", `node -e 'fetch("https://HOST/key").then(r => r.text()).then(console.log)'`, "HTTP/1.1"},
}

// holding lists the files below a directory that have a text.
func holding(t *testing.T, dir, text string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(text)) {
			list = append(list, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A key that a sandbox uses is in the requests of its programs, through everything that happens to the sandbox and its
// daemon, and never in the sandbox, in what is saved of it, or in a log.
func TestAKeyIsUsedAndNeverInTheSandbox(t *testing.T) {
	makeNames(t).trusted(t)
	srv, api, dir := newServer(t, "--log-level", "debug", "--nameserver", nameServer) // The other one does not answer.
	ctx := t.Context()
	key, next, marker := rand.Text(), rand.Text(), rand.Text()
	with := func(key string) map[string]map[string]string {
		return map[string]map[string]string{allowedHost: {"X-Key": key}}
	}
	sb, err := api.CreateWith(ctx, client.CreateOptions{Template: "base", Timeout: 20 * time.Minute, Headers: with(key)})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the internet is reached", func() bool { return fetch(t, api, sb, internetAddr) == "internet" })
	ask := func(when string, sb client.Sandbox, name, command, want string) {
		t.Helper()
		out, err := run(ctx, api, sb, strings.ReplaceAll(command, "HOST", allowedHost))
		if err != nil || strings.TrimSpace(out) != want {
			t.Errorf("%s: %s: %q, %v, want %q", when, name, out, err, want)
		}
	}
	works := func(when string, sb client.Sandbox, key string) {
		t.Helper()
		ask(when, sb, "curl", "curl -sS https://HOST/key", sum(strings.NewReader(key))+" HTTP/2.0")
	}
	for _, a := range askers {
		ask("created", sb, a.name, a.command, sum(strings.NewReader(key))+" "+a.proto)
	}
	// Another host has none, and another port neither.
	ask("created", sb, "another host", "curl -sSk https://"+forbiddenHost+"/key", sum(strings.NewReader(""))+" HTTP/2.0")
	ask("created", sb, "what is not HTTP", `python3 -c 'import socket; s = socket.create_connection(("HOST", 80)); s.sendall(b"\x00\x01\r\n\r\n"); s.settimeout(20); print(len(s.recv(9)) > 0)'`, "True")
	// A process has something in its memory, as a control of the search.
	hold := fmt.Sprintf(`nohup python3 -c 'import time; x = "%s" + "%s"; open("/tmp/there", "w"); time.sleep(10000)' >/dev/null 2>&1 & until [ -e /tmp/there ]; do sleep 0.05; done`, marker[:13], marker[13:])
	if _, err := run(ctx, api, sb, hold); err != nil {
		t.Fatal(err)
	}
	if err := api.Pause(ctx, sb.ID, true); err != nil {
		t.Fatal(err)
	}
	if found := holding(t, dir, marker); len(found) == 0 {
		t.Error("the search finds nothing of a guest's memory in what is saved")
	}
	for _, file := range holding(t, dir, key) {
		if !strings.HasPrefix(file, "state/rundlet.db") {
			t.Errorf("the key is in %s", file)
		}
	}
	if _, _, err := api.Connect(ctx, sb.ID, 20*time.Minute); err != nil {
		t.Fatal(err)
	}
	works("resumed", sb, key)
	children, err := api.Fork(ctx, sb.ID, 1, 20*time.Minute)
	if err != nil || children[0].Error != nil {
		t.Fatal(err, children)
	}
	child := *children[0].Sandbox
	works("forked", child, key)
	if err := api.SetNetwork(ctx, child.ID, client.Network{Internet: new(false), Allow: []string{allowedHost}, Headers: with(next)}); err != nil {
		t.Fatal(err)
	}
	works("with another key, by its name", child, next)
	works("the parent", sb, key)
	srv = srv.crash(t, dir)
	works("after a crash of the daemon", sb, key)
	works("after a crash, by its name", child, next)
	if err := api.SetNetwork(ctx, sb.ID, client.Network{}); err != nil {
		t.Fatal(err)
	}
	ask("without rules", sb, "curl", "curl -sSk https://HOST/key", sum(strings.NewReader(""))+" HTTP/2.0")
	// A sandbox that begins without rules gets them while it runs.
	late, err := api.CreateWith(ctx, client.CreateOptions{Template: "base", Timeout: 20 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if err := api.SetNetwork(ctx, late.ID, client.Network{Headers: with(next)}); err != nil {
		t.Fatal(err)
	}
	works("late", late, next)
	killAll(t, api, []client.Sandbox{sb, child, late})
	srv.stop(t)
	for _, secret := range []string{key, next} {
		if found := holding(t, dir, secret); len(found) > 0 {
			t.Errorf("after the end of the sandboxes a key is in %q", found)
		}
	}
}
