package remote

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/cmd/rundlet/command/commandtest"
)

// runFreshness runs the command with a server that gives one answer after the other, the last again and again.
func runFreshness(t *testing.T, json bool, answers []string, args ...string) (out string, requests []string, err error) {
	t.Helper()
	handle := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests = append(requests, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+string(body)))
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		fmt.Fprint(w, answers[0])
		if len(answers) > 1 {
			answers = answers[1:]
		}
	}
	out, _, err = commandtest.Run(t.Context(), t, handle, json, Sandbox, append([]string{"freshness"}, args...)...)
	return out, requests, err
}

func TestFreshnessIsShownAndChanged(t *testing.T) {
	const get, ready, failed, syncing = "GET /sandboxes/i1/freshness", `{"phase":"ready"}`, `{"phase":"failed","reason":"r","branch":"b","target":"t","checkout":"/c"}`, `{"phase":"syncing"}`
	for name, tt := range map[string]struct {
		answers, args, requests []string
		out, err                string
	}{
		"ready":       {[]string{ready}, []string{"i1"}, []string{get}, "ready\n", ""},
		"failed":      {[]string{failed}, []string{"i1"}, []string{get}, "failed\nreason: r\ncheckout: /c\nbranch: b\ntarget: t\n", ""},
		"waited for":  {[]string{syncing, ready}, []string{"i1", "--wait"}, []string{get, get}, "ready\n", ""},
		"it fails":    {[]string{syncing, failed}, []string{"i1", "--wait"}, []string{get, get}, "failed\nreason: r\ncheckout: /c\nbranch: b\ntarget: t\n", "--sync tries again"},
		"again":       {[]string{syncing}, []string{"i1", "--sync"}, []string{"POST /sandboxes/i1/freshness/sync {}", get}, "syncing\n", ""},
		"by hand":     {[]string{ready}, []string{"i1", "--complete"}, []string{"POST /sandboxes/i1/freshness/complete {}", get}, "ready\n", ""},
		"with reason": {[]string{failed}, []string{"i1", "--fail", "r"}, []string{`POST /sandboxes/i1/freshness/fail {"reason":"r"}`, get}, "failed\nreason: r\ncheckout: /c\nbranch: b\ntarget: t\n", ""},
		"two of them": {[]string{ready}, []string{"i1", "--sync", "--complete"}, nil, "", "use one of"},
	} {
		out, requests, err := runFreshness(t, false, tt.answers, tt.args...)
		if out != tt.out || !slices.Equal(requests, tt.requests) || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %q, %q, %v", name, out, requests, err)
		}
	}
	if out, _, err := runFreshness(t, true, []string{failed}, "i1"); err != nil || !strings.Contains(out, `"reason": "r"`) {
		t.Errorf("%s, %v", out, err)
	}
}
