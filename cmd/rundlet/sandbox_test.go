package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	processpb "github.com/rundlet/rundlet/api/gen/envd/processpb"
	"github.com/rundlet/rundlet/api/gen/envd/processpb/processpbconnect"
	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/store"
)

// guest runs "exit N", "echo ..." and "signal" in every sandbox.
type guest struct {
	processpbconnect.UnimplementedProcessHandler
}

func (guest) Start(_ context.Context, req *connect.Request[processpb.StartRequest], out *connect.ServerStream[processpb.StartResponse]) error {
	if req.Header().Get("E2b-Sandbox-Id") != "i1" {
		return connect.NewError(connect.CodeUnauthenticated, errors.New("wrong sandbox"))
	}
	end := &processpb.ProcessEvent_EndEvent{}
	text := ""
	switch p := req.Msg.GetProcess(); p.GetCmd() {
	case "exit":
		fmt.Sscan(p.GetArgs()[0], &end.ExitCode)
	case "signal":
		end.ExitCode, end.Status = -1, "signal: terminated"
	case "echo":
		text = strings.Join(p.GetArgs(), " ") + p.GetEnvs()["K"] + p.GetCwd()
	}
	for _, ev := range []*processpb.ProcessEvent{
		{Event: &processpb.ProcessEvent_Start{Start: &processpb.ProcessEvent_StartEvent{Pid: 7}}},
		{Event: &processpb.ProcessEvent_Data{Data: &processpb.ProcessEvent_DataEvent{Output: &processpb.ProcessEvent_DataEvent_Stdout{Stdout: []byte(text)}}}},
		{Event: &processpb.ProcessEvent_End{End: end}},
	} {
		if err := out.Send(&processpb.StartResponse{Event: ev}); err != nil {
			return err
		}
	}
	return nil
}

// server answers for one sandbox, i1.
func server(t *testing.T, list []client.Sandbox) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(processpbconnect.NewProcessHandler(guest{}))
	mux.HandleFunc("GET /v2/sandboxes", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(list) })
	mux.HandleFunc("/sandboxes/{id}", func(w http.ResponseWriter, r *http.Request) {
		if id := r.PathValue("id"); id != "i1" {
			w.WriteHeader(404)
			fmt.Fprintf(w, `{"code":404,"message":"sandbox %s not found"}`, id)
		} else if r.Method == http.MethodDelete {
			w.WriteHeader(204)
		} else {
			json.NewEncoder(w).Encode(client.Sandbox{ID: id})
		}
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	t.Setenv("E2B_API_URL", srv.URL)
	t.Setenv("E2B_API_KEY", "e2b_x")
}

func TestExitCodes(t *testing.T) {
	home(t)
	server(t, nil)
	for line, want := range map[string]struct {
		code   int
		stderr string
	}{
		"sandbox exec i1 -- exit 0":              {0, ""},
		"sandbox exec i1 -- exit 42":             {42, ""},
		"sandbox exec i1 exit 255":               {255, ""},
		"sandbox exec i1 -- signal":              {143, ""},
		"sandbox exec i2 -- exit 0":              {1, "sandbox i2 not found"},
		"sandbox exec --env broken i1 -- exit 0": {1, "want KEY=VALUE"},
		"sandbox kill i1":                        {0, ""},
		"sandbox kill i1 i2 i3":                  {1, "sandbox i3 not found"},
		"sandbox exec i1":                        {1, "at least 2 arg"},
		"nonsense":                               {1, "unknown command"},
		"env --nonsense":                         {1, "unknown flag"},
		"serve --driver toy":                     {1, `driver "toy" is not in this build`},
		"bench --samples 0":                      {1, "at least 1"},
		"run":                                    {1, "at least 1 arg"},
	} {
		code, stderr := exit(t, strings.Fields(line)...)
		if code != want.code || !strings.Contains(stderr, want.stderr) || want.stderr == "" && stderr != "" {
			t.Errorf("%s: exit %d, %q", line, code, stderr)
		}
	}
}

func TestExecOutput(t *testing.T) {
	home(t)
	server(t, nil)
	if out := must(t, "sandbox", "exec", "-e", "K==v", "-w", "/tmp", "i1", "--", "echo", "-n", "a"); out != "-n a=v/tmp" {
		t.Errorf("%q", out)
	}
}

func TestSandboxLs(t *testing.T) {
	home(t)
	server(t, []client.Sandbox{{ID: "i1", TemplateID: "t", Alias: "base", State: "running", EndAt: time.Now().Add(time.Hour)}, {ID: "i2", TemplateID: "t2", State: "paused"}})
	list := decode[[]map[string]any](t, must(t, "--json", "sandbox", "ls"))
	if len(list) != 2 || list[0]["sandboxID"] != "i1" || list[0]["state"] != "running" {
		t.Errorf("%v", list)
	}
	lines := strings.Split(strings.TrimSpace(must(t, "sandbox", "ls")), "\n")
	if len(lines) != 3 || !strings.Contains(lines[1], "base") || !strings.Contains(lines[2], "t2") || !strings.HasSuffix(lines[2], "-") {
		t.Errorf("%q", lines)
	}
	server(t, []client.Sandbox{})
	if out := must(t, "--json", "sandbox", "ls"); strings.TrimSpace(out) != "[]" {
		t.Errorf("none: %q", out)
	}
}

func TestSandboxLsKilled(t *testing.T) {
	l := home(t)
	if out := must(t, "--json", "sandbox", "ls", "--killed"); strings.TrimSpace(out) != "[]" {
		t.Errorf("none: %q", out)
	}
	row := store.Sandbox{ID: "i9", Instance: "x", Alias: "base", State: "killed", Reason: "timeout", KilledAt: time.Now(),
		Node: "n1", Driver: "sim", KeyID: "k1", Request: `{"template":"base"}`}
	if err := openStore(t, l).Sandboxes.Put(t.Context(), &row); err != nil {
		t.Fatal(err)
	}
	list := decode[[]map[string]any](t, must(t, "--json", "sandbox", "ls", "--killed"))
	if len(list) != 1 || list[0]["id"] != "i9" || list[0]["reason"] != "timeout" || list[0]["started_at"] != nil {
		t.Errorf("%v", list)
	}
	if asked, _ := list[0]["request"].(map[string]any); asked["template"] != "base" || list[0]["node"] != "n1" || list[0]["driver"] != "sim" || list[0]["key_id"] != "k1" {
		t.Errorf("%v", list)
	}
	if out := must(t, "sandbox", "ls", "--killed"); !strings.Contains(out, "timeout") {
		t.Errorf("%q", out)
	}
}

// Without a server, or a key, the error says what to do.
func TestNoServer(t *testing.T) {
	l := home(t)
	if _, err := cli(t, "sandbox", "ls"); err == nil || !strings.Contains(err.Error(), `start "rundlet serve"`) {
		t.Errorf("no key: %v", err)
	}
	must(t, "env") // makes the key
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	if err := statedir.WriteEndpoint(l, statedir.Endpoint{URL: srv.URL}); err != nil {
		t.Fatal(err)
	}
	if _, err := cli(t, "sandbox", "ls"); err == nil || !strings.Contains(err.Error(), "no server at "+srv.URL) {
		t.Errorf("no server: %v", err)
	}
	if _, err := os.Stat(l.Database()); err != nil {
		t.Error(err)
	}
}
