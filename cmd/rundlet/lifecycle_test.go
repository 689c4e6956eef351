package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// lifecycleServer answers for the sandbox i1 and the snapshot s1 and records
// what it was asked.
func lifecycleServer(t *testing.T) *[]string {
	t.Helper()
	var asked []string
	answers := map[string]struct {
		code int
		body string
	}{
		"POST /sandboxes/i1/pause":      {204, ""},
		"POST /sandboxes/i9/pause":      {409, `{"code":409,"message":"Sandbox \"i9\" is paused already"}`},
		"POST /v2/sandboxes/i1/connect": {201, `{"sandboxID":"i1"}`},
		"POST /sandboxes/i1/fork":       {201, `[{"sandbox":{"sandboxID":"i2"}},{"error":{"code":429,"message":"not enough memory"}},{"sandbox":{"sandboxID":"i3"}}]`},
		"POST /sandboxes/i1/snapshots":  {201, `{"snapshotID":"s1","names":["snap"]}`},
		"GET /snapshots":                {200, `[{"snapshotID":"s1","names":["snap"]},{"snapshotID":"s2","names":[]}]`},
		"DELETE /templates/s1":          {204, ""},
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		request := r.Method + " " + r.URL.EscapedPath()
		asked = append(asked, strings.TrimSpace(request+" "+string(body)))
		a, ok := answers[request]
		if !ok {
			w.WriteHeader(404)
			fmt.Fprintf(w, `{"code":404,"message":"nothing at %s"}`, r.URL.Path)
			return
		}
		w.WriteHeader(a.code)
		io.WriteString(w, a.body)
	}))
	t.Cleanup(srv.Close)
	t.Setenv("E2B_API_URL", srv.URL)
	t.Setenv("E2B_API_KEY", "e2b_x")
	return &asked
}

func TestLifecycleCommands(t *testing.T) {
	home(t)
	asked := lifecycleServer(t)
	for line, want := range map[string]struct{ out, err, asked string }{
		"sandbox pause i1":                       {"", "", `POST /sandboxes/i1/pause {"memory":true}`},
		"sandbox pause --files-only i1":          {"", "", `POST /sandboxes/i1/pause {"memory":false}`},
		"sandbox pause i9 i1":                    {"", `pause i9: Sandbox "i9" is paused already`, `POST /sandboxes/i1/pause {"memory":true}`},
		"--json sandbox pause i9 i1":             {`"sandboxID": "i1",` + "\n    " + `"state": "paused"`, "pause i9", `POST /sandboxes/i1/pause {"memory":true}`},
		"sandbox resume i1":                      {"", "", `POST /v2/sandboxes/i1/connect {"timeout":300}`},
		"sandbox resume --timeout 90s i1":        {"", "", `POST /v2/sandboxes/i1/connect {"timeout":90}`},
		"sandbox resume --timeout 10ms i1":       {"", "at least 1s", ""},
		"--json sandbox resume i1":               {`"state": "running"`, "", `POST /v2/sandboxes/i1/connect {"timeout":300}`},
		"sandbox resume i7":                      {"", "resume i7: nothing at /v2/sandboxes/i7/connect", `POST /v2/sandboxes/i7/connect {"timeout":300}`},
		"sandbox fork i1 -n 3":                   {"i2\ni3\n", "child 2 of 3 of i1: not enough memory", `POST /sandboxes/i1/fork {"count":3,"timeout":300}`},
		"--json sandbox fork --timeout 1m i1":    {`"sandboxID": "i3",`, "child 2 of 3", `POST /sandboxes/i1/fork {"count":1,"timeout":60}`},
		"sandbox fork --timeout 0 i1":            {"", "at least 1s", ""},
		"sandbox fork i7":                        {"", "fork i7: nothing at", `POST /sandboxes/i7/fork {"count":1,"timeout":300}`},
		"sandbox fork i1 i2":                     {"", "accepts 1 arg", ""},
		"sandbox snapshot i1":                    {"s1\n", "", `POST /sandboxes/i1/snapshots {}`},
		"--json sandbox snapshot --name snap i1": {`"snapshotID": "s1"`, "", `POST /sandboxes/i1/snapshots {"name":"snap"}`},
		"sandbox snapshot i7":                    {"", "snapshot of i7: nothing at", `POST /sandboxes/i7/snapshots {}`},
		"snapshot ls":                            {"ID  NAME\ns1  snap\ns2  \n", "", "GET /snapshots"},
		"--json snapshot ls":                     {`"names": []`, "", "GET /snapshots"},
		"snapshot rm s1":                         {"", "", "DELETE /templates/s1"},
		"snapshot rm s7 s1":                      {"", "remove snapshot s7: nothing at", "DELETE /templates/s1"},
		"snapshot rm":                            {"", "at least 1 arg", ""},
	} {
		*asked = nil
		out, err := cli(t, strings.Fields(line)...)
		if !strings.Contains(out, want.out) || want.out == "" && out != "" {
			t.Errorf("%s prints %q", line, out)
		}
		if (err != nil) != (want.err != "") || err != nil && !strings.Contains(err.Error(), want.err) {
			t.Errorf("%s: %v", line, err)
		}
		last := ""
		if n := len(*asked); n > 0 {
			last = (*asked)[n-1]
		}
		if last != want.asked {
			t.Errorf("%s asks %q", line, *asked)
		}
	}
}
