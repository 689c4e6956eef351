package e2b

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/sandbox"
)

func TestContinuation(t *testing.T) {
	tests := []struct {
		name, body string
		state      sandbox.State
		code       int
		want       string
	}{
		{"idle", `{"reason":"idle"}`, sandbox.StateRunning, 201, `"reason":"idle"`},
		{"exited", `{"reason":"exited"}`, sandbox.StateRunning, 201, `"reason":"exited"`},
		{"stopped", `{"reason":"stopped"}`, sandbox.StatePaused, 201, `"reason":"stopped"`},
		{"stopped, but it runs", `{"reason":"stopped"}`, sandbox.StateRunning, 409, "use stopped for a paused sandbox"},
		{"idle, but it is paused", `{"reason":"idle"}`, sandbox.StatePaused, 409, "idle or exited for a running one"},
		{"being paused", `{"reason":"idle"}`, sandbox.StatePausing, 409, "cannot be captured as idle now"},
		{"no reason", `{}`, sandbox.StateRunning, 400, "reason must be"},
		{"empty", ``, sandbox.StateRunning, 400, "empty"},
		{"another reason", `{"reason":"bored"}`, sandbox.StateRunning, 400, "reason must be stopped, idle or exited"},
		{"long reason", `{"reason":"` + strings.Repeat("x", 100000) + `"}`, sandbox.StateRunning, 400, "reason must be"},
		{"number", `{"reason":1}`, sandbox.StateRunning, 400, `"reason"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, Config{})
			id := n.sandbox()
			n.set(id, tt.state)
			r := n.do("POST", "/sandboxes/"+id+"/continuations", tt.body)
			if tt.code != 201 {
				r.wantError(t, tt.code, tt.want)
				if len(r.body) > 1000 {
					t.Errorf("an answer of %d bytes", len(r.body))
				}
				return
			}
			want := `{"bytes":4096,"createdAt":"2026-01-02T03:04:05.006Z",` + tt.want + `,"sandboxID":"` + id + `","snapshotID":"snap0000000000000000"}`
			if r.code != 201 || r.body != want {
				t.Errorf("%d %s\nwant %s", r.code, r.body, want)
			}
			if got := n.do("GET", "/snapshots", "").ids(t, "snapshotID"); len(got) != 0 {
				t.Errorf("it is listed as a snapshot: %v", got)
			}
		})
	}
	n := newNode(t, Config{})
	n.do("POST", "/sandboxes/iunknown/continuations", `{"reason":"idle"}`).wantError(t, 404, "iunknown")
}

func TestFollowUp(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	c := n.do("POST", "/sandboxes/"+id+"/continuations", `{"reason":"exited"}`).fields(t)["snapshotID"].(string)
	// It outlives the session.
	n.do("DELETE", "/sandboxes/"+id, "")
	no := false
	tests := []struct {
		name, request string
		want          sandbox.CreateRequest
	}{
		{"without a request", ``, sandbox.CreateRequest{Timeout: 300 * time.Second, Secure: true}},
		{"empty", `,"createRequest":{}`, sandbox.CreateRequest{Timeout: 300 * time.Second, Secure: true}},
		{"its template is ignored", `,"createRequest":{"templateID":"nope","secure":false}`, sandbox.CreateRequest{Timeout: 300 * time.Second, Secure: true}},
		{"all of it", `,"createRequest":{"timeout":60,"metadata":{"a":"b"},"envVars":{"K":"V"},"allow_internet_access":false,"autoPause":true,"autoResume":{"enabled":true}}`,
			sandbox.CreateRequest{Timeout: time.Minute, Secure: true, Metadata: map[string]string{"a": "b"}, Env: map[string]string{"K": "V"},
				AllowInternet: &no, OnTimeout: sandbox.OnTimeoutPause, AutoResume: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n.t = t
			r := n.do("POST", "/sandboxes/followups", `{"snapshotID":"`+c+`"`+tt.request+`}`)
			if r.code != 201 {
				t.Fatalf("%d %s", r.code, r.body)
			}
			sb := r.fields(t)["sandboxID"].(string)
			want := `{"clientID":"rundlet","envdAccessToken":"token-` + sb + `","envdVersion":"0.6.13",` +
				`"followUp":{"reason":"exited","snapshotID":"` + c + `"},"sandboxID":"` + sb + `","templateID":"tpl0"}`
			if r.body != want {
				t.Errorf("%s\nwant %s", r.body, want)
			}
			got := n.LastRequest()
			tt.want.KeyID = got.KeyID
			if got.KeyID == "" || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("asked for %+v, want %+v", got, tt.want)
			}
			detail := n.do("GET", "/sandboxes/"+sb, "")
			if !strings.Contains(detail.body, `"followUp":{"reason":"exited","snapshotID":"`+c+`"}`) {
				t.Errorf("detail %s", detail.body)
			}
		})
	}
	n.t = t
	if r := n.do("GET", "/v2/sandboxes", ""); strings.Contains(r.body, "followUp") {
		t.Errorf("list %s", r.body)
	}
	if r := n.do("DELETE", "/templates/"+c, ""); r.code != 204 {
		t.Errorf("delete of a continuation: %d %s", r.code, r.body)
	}
	n.do("POST", "/sandboxes/followups", `{"snapshotID":"`+c+`"}`).wantError(t, 404, "snapshot '"+c+"' not found")
}

func TestFollowUpRefuses(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	snapshot := n.take(id, `{"name":"snap"}`)
	for _, tt := range []struct {
		body    string
		code    int
		message string
	}{
		{``, 400, "empty"},
		{`{}`, 400, "snapshotID is missing"},
		{`{"snapshotID":"../x"}`, 400, "is not the id"},
		{`{"snapshotID":7}`, 400, `"snapshotID"`},
		{`{"snapshotID":"unknown"}`, 404, "snapshot 'unknown' not found"},
		// A snapshot is not a session that was captured.
		{`{"snapshotID":"` + snapshot + `"}`, 404, "not found"},
		{`{"snapshotID":"unknown","createRequest":{"timeout":0}}`, 400, "timeout must be positive"},
		{`{"snapshotID":"unknown","createRequest":{"timeout":"x"}}`, 400, `"createRequest.timeout"`},
		{`{"snapshotID":"unknown","createRequest":{"iam":{"x":1}}}`, 501, "iam"},
		{`{"snapshotID":"unknown","createRequest":[]}`, 400, "createRequest"},
	} {
		n.do("POST", "/sandboxes/followups", tt.body).wantError(t, tt.code, tt.message)
	}
	r := n.do("GET", "/sandboxes/followups", "")
	r.wantError(t, 404, "followups")
}
