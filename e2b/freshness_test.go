package e2b

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// gated is a sandbox whose checkout is not up to date yet.
func (n *node) gated(phase sandbox.FreshnessPhase, reason string) string {
	n.t.Helper()
	id := n.sandbox()
	n.Edit(id, func(sb *sandbox.Sandbox) {
		sb.Freshness = sandbox.Freshness{Phase: phase, Reason: reason, Branch: "main", Target: "origin/main", Checkout: "/app"}
	})
	return id
}

func TestFreshness(t *testing.T) {
	n := newNode(t, Config{})
	id := n.gated(sandbox.FreshnessFailed, "no route")
	for _, tt := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"GET", "/sandboxes/" + id + "/freshness", "", 200, `{"branch":"main","checkout":"/app","phase":"failed","reason":"no route","target":"origin/main"}`},
		{"POST", "/sandboxes/" + id + "/freshness/fail", "", 409, ""},
		{"POST", "/sandboxes/" + id + "/freshness/open", "", 400, "must be sync, complete or fail"},
		{"POST", "/sandboxes/" + id + "/freshness/sync", "", 204, ""},
		{"POST", "/sandboxes/" + id + "/freshness/sync", "", 409, ""},
		{"GET", "/sandboxes/" + id + "/freshness", "", 200, `{"branch":"main","checkout":"/app","phase":"syncing","target":"origin/main"}`},
		{"POST", "/sandboxes/" + id + "/freshness/fail", `{"reason":"not today"}`, 204, ""},
		{"GET", "/sandboxes/" + id + "/freshness", "", 200, `"reason":"not today"`},
		{"POST", "/sandboxes/" + id + "/freshness/complete", `{}`, 204, ""},
		{"GET", "/sandboxes/" + id + "/freshness", "", 200, `"phase":"ready"`},
		{"GET", "/sandboxes/" + n.sandbox() + "/freshness", "", 200, `{"phase":"ready"}`},
		{"POST", "/sandboxes/" + n.sandbox() + "/freshness/complete", "", 409, ""},
		{"GET", "/sandboxes/gone/freshness", "", 404, ""},
		{"POST", "/sandboxes/gone/freshness/sync", "", 404, ""},
	} {
		if r := n.do(tt.method, tt.path, tt.body); r.code != tt.code || !strings.Contains(r.body, tt.want) {
			t.Errorf("%s %s %s: %d %s, want %d %s", tt.method, tt.path, tt.body, r.code, r.body, tt.code, tt.want)
		}
	}
}

func TestAWriteWaitsForTheCheckoutAndAReadDoesNot(t *testing.T) {
	n := newNode(t, Config{})
	id := n.gated(sandbox.FreshnessSyncing, "")
	served := make(chan string, 10)
	for _, port := range []uint16{envd.Port, 80} {
		n.Listen(id, port, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { served <- r.Method + " " + r.URL.Path }))
	}
	agent := toPort(id, "49983")
	for _, read := range []struct {
		method, path string
		header       []string
	}{{"GET", "/files", agent}, {"POST", "/filesystem.Filesystem/Stat", agent}, {"GET", "/page", toPort(id, "80")}} {
		if r := n.plain(read.method, read.path, read.header...); r.code != 200 || <-served != read.method+" "+read.path {
			t.Errorf("%s %s: %d %s", read.method, read.path, r.code, r.body)
		}
	}
	answered := make(chan reply, 2)
	for _, port := range []string{"49983", "80"} {
		go func() { answered <- n.plain("POST", "/files", toPort(id, port)...) }()
	}
	select {
	case got := <-served:
		t.Errorf("%s did not wait", got)
	case <-time.After(50 * time.Millisecond): // It would come at once.
	}
	n.Edit(id, func(sb *sandbox.Sandbox) { sb.Freshness.Phase = sandbox.FreshnessReady })
	for range 2 {
		if r := <-answered; r.code != 200 || <-served != "POST /files" {
			t.Errorf("%d %s", r.code, r.body)
		}
	}
	n.Edit(id, func(sb *sandbox.Sandbox) {
		sb.Freshness.Phase, sb.Freshness.Reason = sandbox.FreshnessFailed, "no route"
	})
	if r := n.plain("POST", "/files", agent...); r.code != 409 || !strings.Contains(r.body, "no route") {
		t.Errorf("%d %s", r.code, r.body)
	}
	if r := n.plain("POST", "/process.Process/Start", append(toPort(id, "49983"), "Content-Type", "application/connect+json")...); r.code != 200 ||
		!strings.Contains(r.body, `"failed_precondition"`) || !strings.Contains(r.body, "no route") {
		t.Errorf("%d %s", r.code, r.body)
	}
	if len(served) > 0 {
		t.Errorf("%s came through", <-served)
	}
	// A sandbox that is paused while a write waits is not written.
	n.Edit(id, func(sb *sandbox.Sandbox) { sb.Freshness.Phase = sandbox.FreshnessSyncing })
	go func() { answered <- n.plain("POST", "/files", agent...) }()
	n.Edit(id, func(sb *sandbox.Sandbox) { sb.State = sandbox.StatePaused })
	if r := <-answered; r.code != 502 {
		t.Errorf("of a paused one: %d %s", r.code, r.body)
	}
}
