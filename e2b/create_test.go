package e2b

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/sandbox"
)

func TestCreate(t *testing.T) {
	no, yes := false, true
	tests := []struct {
		name, path, body string
		want             sandbox.CreateRequest
	}{
		{"v1 defaults", "/sandboxes", `{"templateID":"base"}`,
			sandbox.CreateRequest{Timeout: 15 * time.Second}},
		{"v1 secure", "/sandboxes", `{"templateID":"base","secure":true}`,
			sandbox.CreateRequest{Timeout: 15 * time.Second, Secure: true}},
		{"v1 null as secure", "/sandboxes", `{"templateID":"base","secure":null}`,
			sandbox.CreateRequest{Timeout: 15 * time.Second}},
		{"v2 defaults", "/v2/sandboxes", `{"templateID":"base"}`,
			sandbox.CreateRequest{Timeout: 300 * time.Second, Secure: true}},
		{"v1 without secure", "/sandboxes", `{"templateID":"base","secure":false}`,
			sandbox.CreateRequest{Timeout: 15 * time.Second}},
		{"v2 is always secure", "/v2/sandboxes", `{"templateID":"base","secure":false}`,
			sandbox.CreateRequest{Timeout: 300 * time.Second, Secure: true}},
		{"all of it", "/v2/sandboxes", `{"templateID":"base","timeout":60,"metadata":{"a":"b"},"envVars":{"K":"V"},"allow_internet_access":true}`,
			sandbox.CreateRequest{Timeout: time.Minute, Secure: true, AllowInternet: &yes, Metadata: map[string]string{"a": "b"}, Env: map[string]string{"K": "V"}}},
		{"as the SDKs send nothing", "/v2/sandboxes", `{"templateID":"base","metadata":{},"envVars":{},"mcp":null,"network":{},"volumeMounts":[],"autoPause":false,"autoPauseMemory":true,"autoResume":{"enabled":false}}`,
			sandbox.CreateRequest{Timeout: 300 * time.Second, Secure: true, Metadata: map[string]string{}, Env: map[string]string{}}},
		{"v1 mcp, which is for SDKs", "/sandboxes", `{"templateID":"base","mcp":{"exa":{"apiKey":"k"}}}`,
			sandbox.CreateRequest{Timeout: 15 * time.Second}},
		{"v2 mcp, which is for SDKs", "/v2/sandboxes", `{"templateID":"base","mcp":{"exa":{"apiKey":"k"}}}`,
			sandbox.CreateRequest{Timeout: 300 * time.Second, Secure: true}},
		{"unknown keys", "/v2/sandboxes", `{"templateID":"base","gzip":true,"x":{"y":[1]}}`,
			sandbox.CreateRequest{Timeout: 300 * time.Second, Secure: true}},
		{"no internet", "/v2/sandboxes", `{"templateID":"base","allow_internet_access":false}`,
			sandbox.CreateRequest{Timeout: 300 * time.Second, Secure: true, AllowInternet: &no}},
		{"rules are passed on as they are", "/v2/sandboxes", `{"templateID":"base","allow_internet_access":true,"network":{"allowOut":["1.1.1.1"],"denyOut":["0.0.0.0/0","::/0"]}}`,
			sandbox.CreateRequest{Timeout: 300 * time.Second, Secure: true, AllowInternet: &yes,
				Egress: sandbox.Egress{Allow: []string{"1.1.1.1"}, Deny: []string{"0.0.0.0/0", "::/0"}}}},
		{"headers of requests", "/v2/sandboxes", `{"templateID":"base","network":{"rules":{"API.example.com":[{"transform":{"headers":{"Authorization":"s"}}}],"b.example":[],"*.c.example":[{}],"d.example":[{"transform":null}]}}}`,
			sandbox.CreateRequest{Timeout: 300 * time.Second, Secure: true, Egress: sandbox.Egress{Headers: map[string]map[string]string{
				"api.example.com": {"Authorization": "s"}, "b.example": {}, "*.c.example": {}, "d.example": {},
			}}}},
		{"how requests reach programs", "/v2/sandboxes", `{"templateID":"base","network":{"maskRequestHost":"a.example:${PORT}","httpsPorts":[443,8443]}}`,
			sandbox.CreateRequest{Timeout: 300 * time.Second, Secure: true, Ingress: sandbox.Ingress{MaskHost: "a.example:${PORT}", HTTPSPorts: []uint16{443, 8443}}}},
		{"name with the default tag, in upper case", "/v2/sandboxes", `{"templateID":"BASE:default"}`,
			sandbox.CreateRequest{Timeout: 300 * time.Second, Secure: true}},
		{"v1 pauses at its timeout", "/sandboxes", `{"templateID":"base","autoPause":true}`,
			sandbox.CreateRequest{Timeout: 15 * time.Second, OnTimeout: sandbox.OnTimeoutPause}},
		{"v2 pauses at its timeout, and resumes", "/v2/sandboxes", `{"templateID":"base","autoPause":true,"autoPauseMemory":true,"autoResume":{"enabled":true}}`,
			sandbox.CreateRequest{Timeout: 300 * time.Second, Secure: true, OnTimeout: sandbox.OnTimeoutPause, AutoResume: true}},
		{"pauses at its timeout without memory", "/v2/sandboxes", `{"templateID":"base","autoPause":true,"autoPauseMemory":false,"autoResume":{}}`,
			sandbox.CreateRequest{Timeout: 300 * time.Second, Secure: true, OnTimeout: sandbox.OnTimeoutPauseFilesystem}},
		{"resumes after a pause that was asked for", "/sandboxes", `{"templateID":"base","autoResume":{"enabled":true}}`,
			sandbox.CreateRequest{Timeout: 15 * time.Second, AutoResume: true}},
		{"a proxy", "/v2/sandboxes", `{"templateID":"base","network":{"egressProxy":{"address":"a:1","username":"u","password":"p","tls":{"enabled":true,"serverName":"b","caCert":"c"}}}}`,
			sandbox.CreateRequest{Timeout: 300 * time.Second, Secure: true, Egress: sandbox.Egress{Proxy: &sandbox.Proxy{Address: "a:1", Username: "u", Password: "p", TLS: &sandbox.ProxyTLS{ServerName: "b", CACert: "c"}}}}},
		{"no public traffic", "/v2/sandboxes", `{"templateID":"base","network":{"allowPublicTraffic":false,"allowOut":[],"rules":{},"egressProxy":null,"dnsServers":[],"maskRequestHost":""}}`,
			sandbox.CreateRequest{Timeout: 300 * time.Second, Secure: true, AllowPublicTraffic: &no, Egress: sandbox.Egress{Allow: []string{}}}},
	}
	n := newNode(t, Config{})
	keys := n.do("GET", "/v2/sandboxes", "")
	if keys.code != http.StatusOK {
		t.Fatal(keys)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n.t = t
			r := n.do("POST", tt.path, tt.body)
			if r.code != http.StatusCreated {
				t.Fatalf("%d %s", r.code, r.body)
			}
			got := n.LastRequest()
			if got.KeyID == "" {
				t.Error("the key is not recorded")
			}
			tt.want.Template, tt.want.KeyID = "base", got.KeyID
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v\nwant %+v", got, tt.want)
			}
			f := r.fields(t)
			for _, required := range []string{"templateID", "sandboxID", "clientID", "envdVersion"} {
				if s, _ := f[required].(string); s == "" {
					t.Errorf("%s is missing in %s", required, r.body)
				}
			}
			if token, _ := f["envdAccessToken"].(string); (token != "") != tt.want.Secure {
				t.Errorf("token %q of a sandbox with secure %v", token, tt.want.Secure)
			}
			if _, there := f["trafficAccessToken"]; there != (tt.want.AllowPublicTraffic != nil) {
				t.Errorf("traffic token: %s", r.body)
			}
			if _, there := f["domain"]; there {
				t.Errorf("a domain that is not configured: %s", r.body)
			}
		})
	}
}

func TestCreateRefuses(t *testing.T) {
	tests := []struct {
		name, body string
		code       int
		message    string
	}{
		{"unknown template", `{"templateID":"nope"}`, 404, "template 'nope' not found"},
		{"no template", `{}`, 400, "templateID"},
		{"long template", `{"templateID":"` + strings.Repeat("x", 300) + `"}`, 400, "templateID"},
		{"empty body", ``, 400, "empty"},
		{"not JSON", `{"templateID":`, 400, "not valid JSON"},
		{"something behind", `{"templateID":"base"} x`, 400, "not valid JSON"},
		{"array", `[]`, 400, "array"},
		{"number as template", `{"templateID":7}`, 400, `"templateID"`},
		{"text as timeout", `{"templateID":"base","timeout":"60"}`, 400, `"timeout"`},
		{"fraction", `{"templateID":"base","timeout":1.5}`, 400, `"timeout"`},
		{"zero timeout", `{"templateID":"base","timeout":0}`, 400, "positive"},
		{"negative timeout", `{"templateID":"base","timeout":-1}`, 400, "positive"},
		{"long timeout", `{"templateID":"base","timeout":86401}`, 400, "86400"},
		{"huge timeout", `{"templateID":"base","timeout":99999999999999999999}`, 400, `"timeout"`},
		{"exponent", `{"templateID":"base","timeout":1e999}`, 400, `"timeout"`},
		{"number in metadata", `{"templateID":"base","metadata":{"a":1}}`, 400, "metadata"},
		{"list as env", `{"templateID":"base","envVars":["a"]}`, 400, "envVars"},
		{"autoPauseMemory alone", `{"templateID":"base","autoPauseMemory":false}`, 400, "autoPauseMemory"},
		{"autoPauseMemory with autoResume", `{"templateID":"base","autoPause":true,"autoPauseMemory":false,"autoResume":{"enabled":true}}`, 400, "autoResume"},
		{"autoPauseMemory against autoPause", `{"templateID":"base","autoPause":false,"autoPauseMemory":false}`, 400, "autoPauseMemory"},
		{"text as autoPause", `{"templateID":"base","autoPause":"yes"}`, 400, `"autoPause"`},
		{"boolean as autoResume", `{"templateID":"base","autoResume":true}`, 400, `"autoResume"`},
		{"list as mcp", `{"templateID":"base","mcp":["x"]}`, 400, "mcp"},
		{"iam", `{"templateID":"base","iam":{"tokens":{"a":{}}}}`, 501, "iam"},
		{"volumeMounts", `{"templateID":"base","volumeMounts":[{"name":"a","path":"/b"}]}`, 501, "volumeMounts"},
		{"text as allowOut", `{"templateID":"base","network":{"allowOut":"1.1.1.1"}}`, 400, "allowOut"},
		{"number in denyOut", `{"templateID":"base","network":{"denyOut":[1]}}`, 400, "denyOut"},
		{"two rules", `{"templateID":"base","network":{"rules":{"a.com":[{},{}]}}}`, 400, `"a.com" has 2 rules`},
		{"a host twice", `{"templateID":"base","network":{"rules":{"a.com":[],"A.com":[]}}}`, 400, `"a.com" twice`},
		{"an unknown rule", `{"templateID":"base","network":{"rules":{"a.com":[{"block":true}]}}}`, 501, "rules.block"},
		{"an unknown transform", `{"templateID":"base","network":{"rules":{"a.com":[{"transform":{"body":"x"}}]}}}`, 501, "transform.body"},
		{"a list as rules", `{"templateID":"base","network":{"rules":["a.com"]}}`, 400, "rules"},
		{"a rule that is not a list", `{"templateID":"base","network":{"rules":{"a.com":{}}}}`, 400, "rules"},
		{"a number as a value", `{"templateID":"base","network":{"rules":{"a.com":[{"transform":{"headers":{"A":1}}}]}}}`, 400, `"rules"`},
		{"an unknown option of a proxy", `{"templateID":"base","network":{"egressProxy":{"address":"a:1","kind":"http"}}}`, 501, "egressProxy.kind"},
		{"TLS that is not enabled", `{"templateID":"base","network":{"egressProxy":{"address":"a:1","tls":{"enabled":false,"caCert":"x"}}}}`, 400, "not enabled"},
		{"a list as a proxy", `{"templateID":"base","network":{"egressProxy":["a:1"]}}`, 400, "egressProxy"},
		{"a mask with a path", `{"templateID":"base","network":{"maskRequestHost":"a/b"}}`, 400, "maskRequestHost"},
		{"a mask with a line", `{"templateID":"base","network":{"maskRequestHost":"a\r\nX: y"}}`, 400, "maskRequestHost"},
		{"a mask with a user", `{"templateID":"base","network":{"maskRequestHost":"a@b"}}`, 400, "maskRequestHost"},
		{"a mask with two ports", `{"templateID":"base","network":{"maskRequestHost":"a:${PORT}:1"}}`, 400, "maskRequestHost"},
		{"a long mask", `{"templateID":"base","network":{"maskRequestHost":"` + strings.Repeat("a", 256) + `"}}`, 400, "maskRequestHost"},
		{"HTTPS at the agent", `{"templateID":"base","network":{"httpsPorts":[49983]}}`, 400, "httpsPorts"},
		{"HTTPS at port 0", `{"templateID":"base","network":{"httpsPorts":[0]}}`, 400, "httpsPorts"},
		{"HTTPS at a port beyond", `{"templateID":"base","network":{"httpsPorts":[65536]}}`, 400, "httpsPorts"},
		{"HTTPS at a name", `{"templateID":"base","network":{"httpsPorts":["443"]}}`, 400, "httpsPorts"},
		{"too many HTTPS ports", `{"templateID":"base","network":{"httpsPorts":[` + strings.Repeat("443,", 128) + `443]}}`, 400, "129 ports"},
		{"network option of the future", `{"templateID":"base","network":{"denyAllOut":true}}`, 501, "denyAllOut"},
		{"network option by case", `{"templateID":"base","network":{"DenyOut":["1.1.1.1"]}}`, 501, "DenyOut"},
		{"private without secure", `{"templateID":"base","secure":false,"network":{"allowPublicTraffic":false}}`, 400, "secure"},
		{"private, secure not given", `{"templateID":"base","network":{"allowPublicTraffic":false}}`, 400, "secure"},
		{"body too large", `{"templateID":"` + strings.Repeat("x", exchange.MaxBody) + `"}`, 413, "larger"},
		{"deep nesting", strings.Repeat("[", 100000), 400, ""},
	}
	n := newNode(t, Config{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n.t = t
			n.do("POST", "/sandboxes", tt.body).wantError(t, tt.code, tt.message)
		})
	}
	n.t = t
	if r := n.do("GET", "/sandboxes", ""); strings.TrimSpace(r.body) != "[]" {
		t.Errorf("refused requests left %s", r.body)
	}
}

func TestRuntimeErrors(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("create i1: %w", err) }
	short := func(resource string, retry time.Duration) error {
		return wrap(&sandbox.CapacityError{Resource: resource, Requested: 512, Available: 100, RetryAfter: retry})
	}
	tests := []struct {
		name       string
		err        error
		code       int
		message    string
		retryAfter string
	}{
		{"memory, for now", short("memory", 1500*time.Millisecond), 429, "not enough memory on this machine: 512 requested, 100 available; try again later", "2"},
		{"memory, for a moment", short("memory", time.Nanosecond), 429, "memory", "1"},
		{"memory, for good", short("memory", 0), 400, "not enough memory on this machine: 512 requested, 100 available; the request can never fit", ""},
		{"too many sandboxes", short("sandboxes", 10*time.Second), 429, "not enough sandboxes", "10"},
		{"more than a share", wrap(&sandbox.CapacityError{Resource: sandbox.ResourceShare, RetryAfter: time.Second, Detail: "this key has 5 snapshots: delete some"}), 429, "this key has 5 snapshots: delete some", "1"},
		{"the queue is full", short("queue", 0), 429, "too many requests wait", "1"},
		{"queue timeout", short("wait", 5*time.Second), 429, "within the maximum wait", "5"},
		{"pressure", short("pressure", 2500*time.Millisecond), 503, "short of memory or disk", "3"},
		{"pressure, unknown duration", short("pressure", 0), 503, "short of memory or disk", "1"},
		{"capacity", wrap(sandbox.ErrCapacity), 429, "capacity", "1"},
		{"disk full", wrap(sandbox.ErrDiskFull), 507, "disk of this machine is full", ""},
		{"snapshot not found", wrap(sandbox.ErrSnapshotNotFound), 404, "snapshot 'base' not found", ""},
		{"invalid", wrap(sandbox.ErrInvalid), 400, "invalid argument", ""},
		{"conflict", wrap(sandbox.ErrConflict), 409, "changing", ""},
		{"the host changed", wrap(fmt.Errorf("%w: %w", sandbox.ErrNotRestorable, &sandbox.HostChangedError{File: "/usr/lib/libc.so.6", How: "is gone"})), 409, `/usr/lib/libc.so.6" is gone`, ""},
		{"not restorable", wrap(sandbox.ErrNotRestorable), 409, "cannot be restored", ""},
		{"of another node", wrap(&sandbox.ElsewhereError{What: "node", Theirs: "n1", Ours: "n2"}), 409, `it is on node "n1" and this is node "n2"; it is kept`, ""},
		{"of another driver", wrap(&sandbox.ElsewhereError{What: "driver", Theirs: "qemu", Ours: "kvm"}), 409, `made by driver "qemu" and this daemon runs driver "kvm"`, ""},
		{"record changed", wrap(&sandbox.RecordError{Err: errors.New("stale")}), 500, "another program changed its record", ""},
		{"not running", wrap(sandbox.ErrNotRunning), 409, "not running", ""},
		{"unsupported", wrap(sandbox.ErrUnsupported), 501, "not supported", ""},
		{"unavailable", wrap(sandbox.ErrUnavailable), 503, "starting", "1"},
		{"no image for the base", wrap(&sandbox.PrepareError{Err: errors.New("the registry sends nothing")}), 503, "cannot be prepared now: the registry sends nothing", "10"},
		{"not for a while", wrap(&sandbox.RetryError{After: 4500 * time.Millisecond, Detail: "it is being recovered"}), 503, "not available now: it is being recovered", "5"},
		{"no answer", wrap(fmt.Errorf("%w: %w", sandbox.ErrNoAnswer, context.DeadlineExceeded)), 504, "does not answer", ""},
		{"unknown", errors.New("open /secret/path: disk on fire"), 500, "log", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, Config{})
			n.Fail(tt.err)
			r := n.do("POST", "/v2/sandboxes", `{"templateID":"base"}`)
			r.wantError(t, tt.code, tt.message)
			if got := r.header.Get("Retry-After"); got != tt.retryAfter {
				t.Errorf("Retry-After %q, want %q", got, tt.retryAfter)
			}
			if strings.Contains(r.body, "secret") {
				t.Errorf("the cause went out: %s", r.body)
			}
			n.Fail(nil)
		})
	}
}
