package e2b

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
)

func TestSandboxDetail(t *testing.T) {
	n := newNode(t, Config{Domain: "e2b.localhost:8443"})
	r := n.do("POST", "/sandboxes", `{"templateID":"base","secure":true,"timeout":60,"metadata":{"a":"b"},"allow_internet_access":false}`)
	id := r.fields(t)["sandboxID"].(string)
	// The legacy form of the id names the same sandbox.
	for _, name := range []string{id, id + "-rundlet"} {
		r = n.do("GET", "/sandboxes/"+name, "")
		want := `{"alias":"base","allowInternetAccess":false,"clientID":"rundlet","cpuCount":2,"diskSizeMB":1024,` +
			`"domain":"e2b.localhost:8443","endAt":"2026-01-02T03:05:05.006Z","envdAccessToken":"token-` + id + `",` +
			`"envdVersion":"0.6.13","lifecycle":{"autoResume":false,"onTimeout":"kill"},"memoryMB":512,"metadata":{"a":"b"},` +
			`"sandboxID":"` + id + `","startedAt":"2026-01-02T03:04:05.006Z","state":"running","templateID":"tpl0"}`
		if r.code != http.StatusOK || r.body != want {
			t.Errorf("%s: %d %s\nwant %s", name, r.code, r.body, want)
		}
	}
}

func TestSandboxIDs(t *testing.T) {
	n := newNode(t, Config{})
	tests := []struct {
		path    string
		code    int
		message string
	}{
		{"/sandboxes/unknown", 404, `Sandbox "unknown" doesn't exist or you don't have access to it`},
		{"/sandboxes/UPPER", 400, "Invalid sandbox ID"},
		{"/sandboxes/a_b", 400, "Invalid sandbox ID"},
		{"/sandboxes/-", 400, "Invalid sandbox ID"},
		{"/sandboxes/a-", 400, "Invalid sandbox ID"},
		{"/sandboxes/a-b-c", 400, "Invalid sandbox ID"},
		{"/sandboxes/a%2Fb", 400, "Invalid sandbox ID"},
		{"/sandboxes/a%00b", 400, "Invalid sandbox ID"},
		{"/sandboxes/%2e%2e", 400, "Invalid sandbox ID"},
		{"/sandboxes/%2e%2e%2f%2e%2e%2fetc", 400, "Invalid sandbox ID"},
		{"/sandboxes/" + strings.Repeat("a", 64), 400, "Invalid sandbox ID"},
		{"/sandboxes/a/b", 404, "no such route"},
		{"/sandboxes/../etc", 404, "no such route"},
		{"/sandboxes//a", 404, "no such route"},
		{"/sandboxes/a/", 404, "no such route"},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			n.t = t
			n.do("GET", tt.path, "").wantError(t, tt.code, tt.message)
			if tt.code == 400 {
				n.do("DELETE", tt.path, "").wantError(t, tt.code, tt.message)
				n.do("POST", tt.path+"/timeout", `{"timeout":1}`).wantError(t, tt.code, tt.message)
				n.do("POST", tt.path+"/refreshes", `{}`).wantError(t, tt.code, tt.message)
				n.do("POST", "/v2"+tt.path+"/connect", `{}`).wantError(t, tt.code, tt.message)
				n.do("GET", tt.path+"/metrics", "").wantError(t, tt.code, tt.message)
				for _, what := range []string{"pause", "resume", "fork", "snapshots"} {
					n.do("POST", tt.path+"/"+what, `{}`).wantError(t, tt.code, tt.message)
				}
				n.do("POST", tt.path+"/continuations", `{"reason":"idle"}`).wantError(t, tt.code, tt.message)
			}
		})
	}
}

func TestTimeouts(t *testing.T) {
	tests := []struct {
		name, path, body string
		code             int
		// ends is seconds after the epoch; the sandbox starts with 100.
		ends int
	}{
		{"set longer", "/sandboxes/%s/timeout", `{"timeout":200}`, 204, 200},
		{"set shorter", "/sandboxes/%s/timeout", `{"timeout":10}`, 204, 10},
		{"set to now", "/sandboxes/%s/timeout", `{"timeout":0}`, 204, 0},
		{"set without", "/sandboxes/%s/timeout", `{}`, 400, 100},
		{"set empty", "/sandboxes/%s/timeout", ``, 400, 100},
		{"set negative", "/sandboxes/%s/timeout", `{"timeout":-5}`, 400, 100},
		{"set huge", "/sandboxes/%s/timeout", `{"timeout":2147483647}`, 400, 100},
		{"set null", "/sandboxes/%s/timeout", `{"timeout":null}`, 400, 100},
		{"refresh longer", "/sandboxes/%s/refreshes", `{"duration":200}`, 204, 200},
		{"refresh shorter", "/sandboxes/%s/refreshes", `{"duration":10}`, 204, 100},
		{"refresh without body", "/sandboxes/%s/refreshes", ``, 204, 100},
		{"refresh negative", "/sandboxes/%s/refreshes", `{"duration":-1}`, 400, 100},
		{"refresh huge", "/sandboxes/%s/refreshes", `{"duration":3601}`, 400, 100},
		{"connect v1 longer", "/sandboxes/%s/connect", `{"timeout":200}`, 200, 200},
		{"connect v1 shorter", "/sandboxes/%s/connect", `{"timeout":10}`, 200, 100},
		{"connect v1 without timeout", "/sandboxes/%s/connect", `{}`, 400, 100},
		{"connect v1 without body", "/sandboxes/%s/connect", ``, 400, 100},
		{"connect v2 default", "/v2/sandboxes/%s/connect", `{}`, 200, 300},
		{"connect v2 without body", "/v2/sandboxes/%s/connect", ``, 200, 300},
		{"connect v2 zero", "/v2/sandboxes/%s/connect", `{"timeout":0}`, 400, 100},
		{"connect v2 malformed", "/v2/sandboxes/%s/connect", `{`, 400, 100},
		{"connect v2 without memory, running", "/v2/sandboxes/%s/connect", `{"timeout":200,"memory":false}`, 200, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, Config{})
			id := n.do("POST", "/sandboxes", `{"templateID":"base","timeout":100}`).fields(t)["sandboxID"].(string)
			r := n.do("POST", fmt.Sprintf(tt.path, id), tt.body)
			switch {
			case tt.code >= 400:
				r.wantError(t, tt.code, "")
			case r.code != tt.code:
				t.Errorf("%d %s, want %d", r.code, r.body, tt.code)
			case tt.code == 200 && r.fields(t)["sandboxID"] != id:
				t.Errorf("connected to %s", r.body)
			}
			end := n.do("GET", "/sandboxes/"+id, "").fields(t)["endAt"]
			if want := fakeruntime.Epoch.Add(time.Duration(tt.ends) * time.Second).Format(time.RFC3339Nano); end != want {
				t.Errorf("ends %s, want %s", end, want)
			}
			if tt.code < 300 {
				n.do("POST", fmt.Sprintf(tt.path, "unknown"), tt.body).wantError(t, 404, `"unknown"`)
			}
		})
	}
}

func TestRoutes(t *testing.T) {
	n := newNode(t, Config{})
	n.do("GET", "/nothing", "").wantError(t, 404, "no such route")
	n.do("GET", "/", "").wantError(t, 404, "no such route")
	r := n.do("PUT", "/sandboxes", "{}")
	r.wantError(t, 405, "PUT")
	if got := r.header.Get("Allow"); got != "GET, POST" {
		t.Errorf("Allow %q", got)
	}
}

func TestTheNetworkOfASandboxIsReplaced(t *testing.T) {
	n := newNode(t, Config{})
	id := n.do("POST", "/v2/sandboxes", `{"templateID":"base","network":{"allowOut":["1.1.1.1"],"denyOut":["0.0.0.0/0"],"allowPublicTraffic":false}}`).fields(t)["sandboxID"].(string)
	shows := func(want string) {
		t.Helper()
		r := n.do("GET", "/sandboxes/"+id, "")
		var got struct {
			Network  json.RawMessage `json:"network"`
			Internet *bool           `json:"allowInternetAccess"`
		}
		if err := json.Unmarshal([]byte(r.body), &got); err != nil || string(got.Network) != want {
			t.Errorf("%s, %v, want %s", r.body, err, want)
		}
	}
	shows(`{"allowOut":["1.1.1.1"],"allowPublicTraffic":false,"denyOut":["0.0.0.0/0"]}`)
	for _, c := range []struct{ body, shown string }{
		{`{"allow_internet_access":false,"allowOut":["2.2.2.0/24"],"rules":{},"egressProxy":null}`, `{"allowOut":["2.2.2.0/24"],"allowPublicTraffic":false}`},
		{`{"denyOut":["0.0.0.0/0"],"allowOut":["bundle:pypi","a.example"]}`, `{"allowOut":["bundle:pypi","a.example"],"allowPublicTraffic":false,"denyOut":["0.0.0.0/0"]}`},
		{`{"denyOut":["3.3.3.3"]}`, `{"allowPublicTraffic":false,"denyOut":["3.3.3.3"]}`},
		{`{"rules":{"A.example":[{"transform":{"headers":{"X-Key":"v"}}}],"b.example":[{}]}}`,
			`{"allowPublicTraffic":false,"rules":{"a.example":[{"transform":{"headers":{"X-Key":"v"}}}],"b.example":[]}}`},
		{`{"egressProxy":{"address":"Proxy.example:1080","username":"u","password":"p","tls":null}}`, `{"allowPublicTraffic":false,"egressProxy":{"address":"Proxy.example:1080","username":"u"}}`},
		{`{"egressProxy":{"address":"a:1","tls":{"enabled":true,"serverName":"b","caCert":"pem"}}}`, `{"allowPublicTraffic":false,"egressProxy":{"address":"a:1","tls":{"enabled":true,"serverName":"b"}}}`},
		{`{"egressProxy":{"address":"a:1","tls":{"enabled":false}}}`, `{"allowPublicTraffic":false,"egressProxy":{"address":"a:1"}}`},
		{`{}`, `{"allowPublicTraffic":false}`},
	} {
		if r := n.do("PUT", "/sandboxes/"+id+"/network", c.body); r.code != http.StatusNoContent || r.body != "" {
			t.Errorf("%s: %d %s", c.body, r.code, r.body)
		}
		shows(c.shown)
	}
	for _, c := range []struct {
		id, body string
		code     int
		message  string
	}{
		{id, `{"rules":{"a.com":[{"allow":["x"]}]}}`, 501, "network.rules.allow"},
		{id, `{"egressProxy":{"address":"a:1","kind":"http"}}`, 501, "egressProxy.kind"},
		{id, `{"egressProxy":{"address":"a:1","tls":{"enabled":true,"insecure":true}}}`, 501, "egressProxy.tls.insecure"},
		{id, `{"egressProxy":{"address":"a:1","tls":{"enabled":false,"serverName":"b"}}}`, 400, "not enabled"},
		{id, `{"egressProxy":"socks5://a:1"}`, 400, "egressProxy"},
		{id, `{"egressProxy":{"address":["a:1"]}}`, 400, "egressProxy"},
		{id, `{"allowPublicTraffic":false}`, 501, "allowPublicTraffic"},
		{id, `{"AllowOut":["1.1.1.1"]}`, 501, "AllowOut"},
		{id, `{"allowOut":"1.1.1.1"}`, 400, "allowOut"},
		{id, `{"allow_internet_access":"no"}`, 400, "allow_internet_access"},
		{id, `[]`, 400, "object"},
		{id, ``, 400, ""},
		{"UPPER", `{}`, 400, "Invalid sandbox ID"},
		{"unknown", `{}`, 404, `"unknown"`},
	} {
		n.do("PUT", "/sandboxes/"+c.id+"/network", c.body).wantError(t, c.code, c.message)
	}
	want := `[{"address":"1.1.1.1","count":2,"firstAt":"2026-01-02T03:04:05.006Z","lastAt":"2026-01-02T03:04:06.006Z","port":443,"protocol":"tcp"}]`
	if r := n.do("GET", "/sandboxes/"+id+"/network/refused", ""); r.code != http.StatusOK || r.body != want {
		t.Errorf("refused: %d %s, want %s", r.code, r.body, want)
	}
	n.do("GET", "/sandboxes/unknown/network/refused", "").wantError(t, 404, `"unknown"`)
	want = `{"bytesIn":3,"bytesOut":1099511627776,"connections":5,"forgottenHosts":0,` +
		`"hosts":[{"connections":2147483647,"firstAt":"2026-01-02T03:04:05.006Z","lastAt":"2026-01-02T03:04:06.006Z","name":"a.example","ports":[80,443],"queries":1},` +
		`{"connections":0,"firstAt":"0001-01-01T00:00:00Z","lastAt":"0001-01-01T00:00:00Z","name":"b.example","ports":[],"queries":0}],"packetsIn":4,"packetsOut":2,"refusedConnections":6,"refusedPackets":9223372036854775807,"refusedQueries":7}`
	if r := n.do("GET", "/sandboxes/"+id+"/network/traffic", ""); r.code != http.StatusOK || r.body != want {
		t.Errorf("traffic: %d %s, want %s", r.code, r.body, want)
	}
	n.do("GET", "/sandboxes/unknown/network/traffic", "").wantError(t, 404, `"unknown"`)
	n.do("POST", "/sandboxes/"+id+"/pause", "")
	n.do("PUT", "/sandboxes/"+id+"/network", `{}`).wantError(t, 409, id)
}

func TestAuthentication(t *testing.T) {
	n := newNode(t, Config{})
	other, _ := NewKey("other", time.Now())
	_, stranger := NewKey("", time.Now())
	for name, key := range map[string]string{
		"missing": "", "empty prefix": "e2b_", "another": stranger, "its mask": other.Mask,
		"upper case": strings.ToUpper(n.key), "longer": n.key + "0", "not a key": "\x01",
	} {
		for _, path := range []string{"/v2/sandboxes", "/nothing", "/sandboxes/i0/pause"} {
			req, _ := http.NewRequestWithContext(t.Context(), "GET", n.url+path, nil)
			if name != "not a key" && key != "" {
				req.Header.Set("X-API-Key", key)
			} else if key != "" {
				req.Header.Set("X-API-Key", "ключ")
			}
			r := n.send(req)
			r.wantError(t, 401, "API key")
			if strings.Contains(r.body, n.key) {
				t.Errorf("%s: the answer contains a key", name)
			}
		}
	}
	req, _ := http.NewRequestWithContext(t.Context(), "GET", n.url+"/health", nil)
	if r := n.send(req); r.code != http.StatusOK {
		t.Errorf("health without a key: %d", r.code)
	}
}

func TestMemoryKeys(t *testing.T) {
	var keys MemoryKeys
	a, text, _ := keys.Create(t.Context(), "a")
	b, _, _ := keys.Create(t.Context(), "b")
	if len(text) != 44 || !strings.HasPrefix(text, "e2b_") || strings.Trim(text[4:], "0123456789abcdef") != "" {
		t.Errorf("key %q", text)
	}
	if got, err := keys.Verify(t.Context(), text); err != nil || got != a {
		t.Errorf("Verify: %v, %v", got, err)
	}
	if list, _ := keys.List(t.Context()); len(list) != 2 || list[0] != a || list[1] != b {
		t.Errorf("List: %v", list)
	}
	if err := keys.Remove(t.Context(), a.ID); err != nil {
		t.Error(err)
	}
	if _, err := keys.Verify(t.Context(), text); !errors.Is(err, ErrBadKey) {
		t.Errorf("Verify of a removed key: %v", err)
	}
	if err := keys.Remove(t.Context(), a.ID); !errors.Is(err, ErrBadKey) {
		t.Errorf("second Remove: %v", err)
	}
}
