package e2e

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

// Lists with ports, as an SDK sends them, hold in a sandbox, in its fork and after a pause, and are shown as they were given.
func TestASandboxReachesAPort(t *testing.T) {
	_, api, _ := newServer(t)
	makeInternet(t, func() {
		listen(t, ":25", "mail")
		listen(t, ":8443", "other")
	})
	ctx := t.Context()
	ask := func(method, path, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, method, api.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-API-Key", api.Key)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	var sb client.Sandbox
	status, text := ask(http.MethodPost, "/v2/sandboxes", `{"templateID":"base","timeout":1200,"network":{"denyOut":["0.0.0.0/0:25"]}}`)
	if err := json.Unmarshal([]byte(text), &sb); err != nil || status != http.StatusCreated {
		t.Fatal(status, text)
	}
	reaches := func(when string, sb client.Sandbox, want map[string]string) {
		t.Helper()
		for port, page := range want {
			out := fetch(t, api, sb, net.JoinHostPort(internetAddr, port))
			if page != "" && out != page || page == "" && (!strings.HasPrefix(out, "failed") || strings.Contains(out, "imed out")) {
				t.Errorf("%s, port %s gives %q, want %q", when, port, out, page)
			}
		}
	}
	noMail, only := map[string]string{"25": "", "80": "internet", "8443": "other"}, map[string]string{"25": "", "80": "", "8443": "other"}
	reaches("created", sb, noMail)
	if err := api.Pause(ctx, sb.ID, true); err != nil {
		t.Fatal(err)
	}
	if _, _, err := api.Connect(ctx, sb.ID, 20*time.Minute); err != nil {
		t.Fatal(err)
	}
	reaches("resumed", sb, noMail)
	if status, text := ask(http.MethodPut, "/sandboxes/"+sb.ID+"/network", `{"allowOut":["`+internetAddr+`:8443","[2a00::/16]:443"],"denyOut":["0.0.0.0/0"]}`); status != http.StatusNoContent {
		t.Fatal(status, text)
	}
	reaches("changed", sb, only)
	children, err := api.Fork(ctx, sb.ID, 1, 20*time.Minute)
	if err != nil || children[0].Error != nil {
		t.Fatal(err, children)
	}
	reaches("forked", *children[0].Sandbox, only)
	n, err := api.Network(ctx, sb.ID)
	if err != nil || !slices.Equal(n.Allow, []string{internetAddr + ":8443", "[2a00::/16]:443"}) || !slices.Equal(n.Deny, []string{"0.0.0.0/0"}) {
		t.Errorf("its rules are %+v, %v", n, err)
	}
	for body, want := range map[string]string{
		`{"denyOut":["1.1.1.1:0"]}`:                                  "port from 1 to 65535",
		`{"denyOut":[":99999"]}`:                                     "is not an address",
		`{"allowOut":["bundle:pypi:443"],"denyOut":["0.0.0.0/0"]}`:   "a bundle takes no port",
		`{"allowOut":["a.example:443"],"denyOut":["0.0.0.0/0:443"]}`: "need denyOut with 0.0.0.0/0",
	} {
		if status, text := ask(http.MethodPut, "/sandboxes/"+sb.ID+"/network", body); status != http.StatusBadRequest || !strings.Contains(text, want) {
			t.Errorf("%s: %d %s, want %q", body, status, text, want)
		}
	}
	reaches("refused", sb, only) // What is wrong has changed nothing.
	list, err := api.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	killAll(t, api, list)
}
