package e2b

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// set changes the state of a sandbox.
func (n *node) set(id string, s sandbox.State) {
	n.Edit(id, func(sb *sandbox.Sandbox) { sb.State = s })
}

// state is what the API says of a sandbox.
func (n *node) state(id string) string {
	n.t.Helper()
	s, _ := n.do("GET", "/sandboxes/"+id, "").fields(n.t)["state"].(string)
	return s
}

func TestPause(t *testing.T) {
	tests := []struct {
		name, body string
		state      sandbox.State
		code       int
		message    string
		// forgets: the sandbox is paused without its memory.
		forgets bool
	}{
		{"with memory", `{"memory":true}`, sandbox.StateRunning, 204, "", false},
		{"empty object", `{}`, sandbox.StateRunning, 204, "", false},
		{"empty body", ``, sandbox.StateRunning, 204, "", false},
		{"without memory", `{"memory":false}`, sandbox.StateRunning, 204, "", true},
		{"null", `{"memory":null}`, sandbox.StateRunning, 204, "", false},
		{"healthy guest", `{"requireHealthyGuest":true}`, sandbox.StateRunning, 204, "", false},
		{"paused", `{}`, sandbox.StatePaused, 409, "paused already", false},
		{"paused, healthy guest", `{"requireHealthyGuest":true}`, sandbox.StatePaused, 409, "paused already", false},
		{"being paused", `{}`, sandbox.StatePausing, 409, "changing its state", false},
		{"being resumed", `{}`, sandbox.StateResuming, 409, "changing its state", false},
		{"text as memory", `{"memory":"no"}`, sandbox.StateRunning, 400, `"memory"`, false},
		{"array", `[]`, sandbox.StateRunning, 400, "array", false},
		{"malformed", `{`, sandbox.StateRunning, 400, "not valid JSON", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, Config{})
			id := n.sandbox()
			n.set(id, tt.state)
			r := n.do("POST", "/sandboxes/"+id+"/pause", tt.body)
			if tt.code != 204 {
				r.wantError(t, tt.code, tt.message)
				return
			}
			if r.code != 204 || r.body != "" || n.state(id) != "paused" {
				t.Errorf("%d %q, then %s", r.code, r.body, n.state(id))
			}
			sb, err := n.Get(t.Context(), id)
			if err != nil || sb.FilesystemOnly != tt.forgets {
				t.Errorf("without memory: %v, %v", sb.FilesystemOnly, err)
			}
			if got := n.do("GET", "/v2/sandboxes?state=paused", "").ids(t, "sandboxID"); len(got) != 1 || got[0] != id {
				t.Errorf("paused ones: %v", got)
			}
			if got := n.do("GET", "/v2/sandboxes?state=running", "").ids(t, "sandboxID"); len(got) != 0 {
				t.Errorf("running ones: %v", got)
			}
			n.do("POST", "/sandboxes/"+id+"/pause", tt.body).wantError(t, 409, "paused already")
			if r := n.do("DELETE", "/sandboxes/"+id, ""); r.code != 204 {
				t.Errorf("kill of a paused sandbox: %d %s", r.code, r.body)
			}
			n.do("POST", "/sandboxes/"+id+"/pause", tt.body).wantError(t, 404, id)
		})
	}
}

func TestPauseThatIsRefused(t *testing.T) {
	n := newNode(t, Config{})
	id := n.do("POST", "/v2/sandboxes", `{"templateID":"base"}`).fields(t)["sandboxID"].(string)
	// Nothing listens on the port of the agent.
	n.do("POST", "/sandboxes/"+id+"/pause", `{"requireHealthyGuest":true}`).wantError(t, 503, "does not answer")
	n.Listen(id, envd.Port, http.NotFoundHandler())
	n.do("POST", "/sandboxes/"+id+"/pause", `{"requireHealthyGuest":true}`).wantError(t, 503, "does not answer")
	n.Fail(&sandbox.CapacityError{Resource: "pressure", RetryAfter: 3 * time.Second})
	r := n.do("POST", "/sandboxes/"+id+"/pause", ``)
	r.wantError(t, 503, "short of memory or disk")
	if got := r.header.Get("Retry-After"); got != "3" {
		t.Errorf("Retry-After %q", got)
	}
	n.Fail(sandbox.ErrDiskFull)
	n.do("POST", "/sandboxes/"+id+"/pause", ``).wantError(t, 507, "full")
	n.Fail(nil)
	if s := n.state(id); s != "running" {
		t.Errorf("a refused pause left it %s", s)
	}
}

// TestStatesOnTheWay: a sandbox between two states is always in one list, that
// of the state it comes from.
func TestStatesOnTheWay(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	for state, want := range map[sandbox.State]string{
		sandbox.StateRunning: "running", sandbox.StatePausing: "running",
		sandbox.StateResuming: "paused", sandbox.StatePaused: "paused",
	} {
		n.set(id, state)
		if got := n.state(id); got != want {
			t.Errorf("%s is shown as %s", state, got)
		}
		for query, there := range map[string]bool{"": true, "?state=running,paused": true, "?state=running": want == "running", "?state=paused": want == "paused"} {
			if got := n.do("GET", "/v2/sandboxes"+query, "").ids(t, "sandboxID"); (len(got) == 1) != there {
				t.Errorf("%s: list%s has %v", state, query, got)
			}
		}
	}
}

func TestConnectResumes(t *testing.T) {
	tests := []struct {
		name, path, body string
		state            sandbox.State
		forgot           bool
		code             int
		message          string
	}{
		{"v1, running", "/sandboxes/%s/connect", `{"timeout":60}`, sandbox.StateRunning, false, 200, ""},
		{"v2, running", "/v2/sandboxes/%s/connect", ``, sandbox.StateRunning, false, 200, ""},
		{"v1, paused", "/sandboxes/%s/connect", `{"timeout":60}`, sandbox.StatePaused, false, 201, ""},
		{"v2, paused", "/v2/sandboxes/%s/connect", `{}`, sandbox.StatePaused, false, 201, ""},
		{"v2, paused, memory", "/v2/sandboxes/%s/connect", `{"memory":true}`, sandbox.StatePaused, false, 201, ""},
		{"v1, paused with memory, not wanted", "/sandboxes/%s/connect", `{"timeout":60,"memory":false}`, sandbox.StatePaused, false, 201, ""},
		{"v2, paused with memory, not wanted", "/v2/sandboxes/%s/connect", `{"memory":false}`, sandbox.StatePaused, false, 201, ""},
		{"v2, paused without memory, not wanted", "/v2/sandboxes/%s/connect", `{"memory":false}`, sandbox.StatePaused, true, 201, ""},
		{"v2, paused without memory", "/v2/sandboxes/%s/connect", `{}`, sandbox.StatePaused, true, 201, ""},
		{"v2, running, memory not wanted", "/v2/sandboxes/%s/connect", `{"memory":false}`, sandbox.StateRunning, false, 200, ""},
		{"resume", "/sandboxes/%s/resume", `{"timeout":60}`, sandbox.StatePaused, false, 201, ""},
		{"resume, empty", "/sandboxes/%s/resume", ``, sandbox.StatePaused, false, 201, ""},
		{"resume, kills as before", "/sandboxes/%s/resume", `{"autoPause":false}`, sandbox.StatePaused, false, 201, ""},
		{"resume, pauses from now on", "/sandboxes/%s/resume", `{"autoPause":true}`, sandbox.StatePaused, false, 501, "autoPause"},
		{"resume, memory not wanted", "/sandboxes/%s/resume", `{"memory":false}`, sandbox.StatePaused, false, 201, ""},
		{"resume, running", "/sandboxes/%s/resume", `{"timeout":60}`, sandbox.StateRunning, false, 409, "already running"},
		{"resume, zero", "/sandboxes/%s/resume", `{"timeout":0}`, sandbox.StatePaused, false, 400, "positive"},
		{"resume, malformed", "/sandboxes/%s/resume", `{"timeout":"x"}`, sandbox.StatePaused, false, 400, `"timeout"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, Config{})
			id := n.sandbox()
			n.Edit(id, func(sb *sandbox.Sandbox) { sb.State, sb.FilesystemOnly = tt.state, tt.forgot })
			before := n.do("GET", "/sandboxes/"+id, "").body
			r := n.do("POST", fmt.Sprintf(tt.path, id), tt.body)
			if tt.code >= 400 {
				r.wantError(t, tt.code, tt.message)
				if after := n.do("GET", "/sandboxes/"+id, "").body; after != before {
					t.Errorf("a refusal made %s of %s", after, before)
				}
				return
			}
			want := `{"alias":"base","clientID":"rundlet","envdAccessToken":"token-` + id + `","envdVersion":"0.6.13","sandboxID":"` + id + `","templateID":"tpl0"}`
			if r.code != tt.code || r.body != want {
				t.Errorf("%d %s, want %d %s", r.code, r.body, tt.code, want)
			}
			if want := strings.Contains(tt.body, `"memory":false`); slices.Contains(n.Transitions.Reboots(), id) != want {
				t.Errorf("it was rebooted: %v, want %v", !want, want)
			}
			if r := n.do("GET", "/health", "", toAgent(id)...); r.code != 204 {
				t.Errorf("health: %d %s", r.code, r.body)
			}
			n.do("POST", fmt.Sprintf(tt.path, "iunknown"), tt.body).wantError(t, 404, "iunknown")
		})
	}
}

func TestLifecycleIsShown(t *testing.T) {
	n := newNode(t, Config{})
	for body, want := range map[string]string{
		`{"templateID":"base"}`: `"lifecycle":{"autoResume":false,"onTimeout":"kill"}`,
		`{"templateID":"base","autoPause":true,"autoResume":{"enabled":true}}`:  `"lifecycle":{"autoResume":true,"onTimeout":"pause"}`,
		`{"templateID":"base","autoPause":true,"autoPauseMemory":false}`:        `"lifecycle":{"autoResume":false,"onTimeout":"pause"}`,
		`{"templateID":"base","autoPause":false,"autoResume":{"enabled":true}}`: `"lifecycle":{"autoResume":true,"onTimeout":"kill"}`,
	} {
		id := n.do("POST", "/v2/sandboxes", body).fields(t)["sandboxID"].(string)
		if r := n.do("GET", "/sandboxes/"+id, ""); !strings.Contains(r.body, want) {
			t.Errorf("%s: %s", body, r.body)
		}
	}
}

// TestPauseBreaksStreamsOff: without an end, also where the machine leaves the
// connections open, and the next run gets new connections.
func TestPauseBreaksStreamsOff(t *testing.T) {
	for _, silent := range []bool{false, true} {
		eachProtocol(t, func(t *testing.T, n *node) {
			n.Silent = silent
			id := n.sandbox()
			body := n.stream(t.Context(), id)
			if r := n.do("POST", "/sandboxes/"+id+"/pause", ""); r.code != 204 {
				t.Fatalf("%d %s", r.code, r.body)
			}
			within(t, time.Minute, "the end of the stream", func() {
				if rest, err := io.ReadAll(body); err == nil || errors.Is(err, io.EOF) || len(rest) > 0 {
					t.Errorf("%q, %v: a stream that a pause broke off looks complete", rest, err)
				}
			})
			if r := n.do("GET", "/health", "", toAgent(id)...); r.code != 502 || !strings.Contains(r.body, "was not found") {
				t.Errorf("health of a paused sandbox: %d %s", r.code, r.body)
			}
			dials := n.Dials()
			n.do("POST", "/v2/sandboxes/"+id+"/connect", "")
			if r := n.do("GET", "/health", "", toAgent(id)...); r.code != 204 || n.Dials() != dials+1 {
				t.Errorf("after the resume: %d %s, %d dials", r.code, r.body, n.Dials()-dials)
			}
		})
	}
}

// TestPauseThatFailsKeepsStreams: what was not paused is not broken off.
func TestPauseThatFailsKeepsStreams(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	n.Listen(id, 80, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first\n")
		_ = http.NewResponseController(w).Flush()
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	}))
	n.h2c()
	in, out := io.Pipe()
	req, _ := http.NewRequestWithContext(t.Context(), "POST", n.url+"/", in)
	req.Header.Set(envd.SandboxIDHeader, id)
	req.Header.Set(envd.SandboxPortHeader, "80")
	resp, err := n.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	n.Fail(sandbox.ErrDiskFull)
	n.do("POST", "/sandboxes/"+id+"/pause", "").wantError(t, 507, "full")
	n.Fail(nil)
	_, _ = io.WriteString(out, "still here")
	out.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "first\nstill here" {
		t.Errorf("%q, %v", b, err)
	}
}
