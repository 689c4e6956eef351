package e2b

import (
	"net/http"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// An operator may want more than E2B's first generation has.
func TestRequireSecure(t *testing.T) {
	n := newNode(t, Config{RequireSecure: true})
	for _, tt := range []struct {
		path, body string
		refused    bool
	}{
		{"/sandboxes", `{"templateID":"base"}`, false},
		{"/sandboxes", `{"templateID":"base","secure":true}`, false},
		{"/sandboxes", `{"templateID":"base","secure":false}`, true},
		{"/v2/sandboxes", `{"templateID":"base"}`, false},
		{"/v2/sandboxes", `{"templateID":"base","secure":false}`, false}, // It has no such field.
	} {
		r := n.do("POST", tt.path, tt.body)
		if tt.refused {
			r.wantError(t, 400, `"secure"`)
			continue
		}
		if token, _ := r.fields(t)["envdAccessToken"].(string); r.code != http.StatusCreated || token == "" {
			t.Errorf("%s %s: %d %s", tt.path, tt.body, r.code, r.body)
		}
	}
}

// An open sandbox of the first generation has no token that could be asked for.
func TestTrafficResumesAnOpenSandbox(t *testing.T) {
	n := newNode(t, Config{})
	r := n.do("POST", "/sandboxes", `{"templateID":"base","autoPause":true,"autoResume":{"enabled":true}}`)
	id := r.fields(t)["sandboxID"].(string)
	n.Listen(id, envd.Port, agentHandler(id))
	n.do("POST", "/sandboxes/"+id+"/pause", "")
	if r := n.plain("POST", "/init", toAgent(id)...); r.code != 404 || n.Transitions.Resumes() != 0 {
		t.Errorf("a control route: %d %s, %d resumes", r.code, r.body, n.Transitions.Resumes())
	}
	if r := n.plain("POST", "/x", toAgent(id)...); r.code != 200 || n.Transitions.Resumes() != 1 {
		t.Errorf("%d %s, %d resumes", r.code, r.body, n.Transitions.Resumes())
	}
	n.do("POST", "/sandboxes/"+id+"/pause", "")
	n.Edit(id, func(sb *sandbox.Sandbox) { sb.AutoResume = false })
	if r := n.plain("POST", "/x", toAgent(id)...); r.code != 502 || n.Transitions.Resumes() != 1 {
		t.Errorf("without auto-resume: %d %s, %d resumes", r.code, r.body, n.Transitions.Resumes())
	}
}

// Forks have a token for their agent if the sandbox that they are made of has one.
func TestAForkIsAsOpenAsItsSandbox(t *testing.T) {
	n := newNode(t, Config{})
	for path, secured := range map[string]bool{"/sandboxes": false, "/v2/sandboxes": true} {
		id := n.do("POST", path, `{"templateID":"base"}`).fields(t)["sandboxID"].(string)
		r := n.do("POST", "/sandboxes/"+id+"/fork", "{}")
		if r.code != http.StatusCreated || strings.Contains(r.body, "envdAccessToken") != secured {
			t.Errorf("%s: %d %s", path, r.code, r.body)
		}
	}
}
