package events

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/cmd/rundlet/command/commandtest"
)

// run runs the command with a server that has three events, and sends two more, one at a time, to a client that follows.
func run(t *testing.T, json bool, args ...string) (out, errs string, asked []string, err error) {
	t.Helper()
	event := func(n int) string {
		data := `{"reason":"a\u001b[31mb"}`
		if n%2 == 0 {
			data = "null"
		}
		at := time.Date(2026, 1, 2, 3, 4, n, 6000000, time.Local).Format(time.RFC3339Nano)
		return fmt.Sprintf(`{"version":"v2","id":"%d","type":"sandbox.lifecycle.killed","eventData":%s,"sandboxId":"i%d","sandboxExecutionId":"x","sandboxTemplateId":"t","sandboxBuildId":"b","sandboxTeamId":"","timestamp":%q}`, n, data, n, at)
	}
	sent := 3
	handle := func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RequestURI()+" "+r.Header.Get("Last-Event-ID"))
		switch {
		case r.URL.Path != "/events/stream":
			list := []string{}
			for n := sent; n > max(0, sent-len(r.FormValue("limit"))*2); n-- { // Two, if fewer than ten were asked for.
				list = append(list, event(n))
			}
			fmt.Fprintf(w, "[%s]", strings.Join(list, ","))
		case sent == 5:
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"code":400,"message":"that is all"}`)
		default:
			sent++
			fmt.Fprintf(w, "id: %d\ndata: %s\n\n", sent, event(sent))
		}
	}
	out, errs, err = commandtest.Run(t.Context(), t, handle, json, Command, args...)
	return out, errs, asked, err
}

func TestEventsAreShown(t *testing.T) {
	const first, second, third = "2026-01-02 03:04:01.006  i1  lifecycle.killed       {\"reason\":\"a\\u001b[31mb\"}\n", "2026-01-02 03:04:02.006  i2  lifecycle.killed\n", "2026-01-02 03:04:03.006  i3  lifecycle.killed       {\"reason\":\"a\\u001b[31mb\"}\n"
	const fourth, fifth = "2026-01-02 03:04:04.006  i4  lifecycle.killed\n", "2026-01-02 03:04:05.006  i5  lifecycle.killed       {\"reason\":\"a\\u001b[31mb\"}\n"
	for name, tt := range map[string]struct {
		args, out, err string
		asked          []string
	}{
		"the newest last": {"", first + second + third, "", []string{"/events/sandboxes?limit=20&offset=0 "}},
		"of one sandbox":  {"i1 --limit 2", second + third, "", []string{"/events/sandboxes/i1?limit=2&offset=0 "}},
		"of types": {"--type killed --type sandbox.lifecycle.paused,denied", first + second + third, "",
			[]string{"/events/sandboxes?limit=20&offset=0&types=sandbox.lifecycle.killed&types=sandbox.lifecycle.paused&types=sandbox.network.denied "}},
		"followed": {"--limit 2 --follow", second + third + fourth + fifth, "that is all",
			[]string{"/events/sandboxes?limit=2&offset=0 ", "/events/stream? 3", "/events/stream? 4", "/events/stream? 5"}},
		"only new ones": {"i1 -f --limit 0", fourth + fifth, "that is all",
			[]string{"/events/sandboxes/i1?limit=1&offset=0 ", "/events/stream?sandbox=i1 3", "/events/stream?sandbox=i1 4", "/events/stream?sandbox=i1 5"}},
		"an unknown type": {"--type gone", "", "not a type of events", nil},
		"a bad limit":     {"--limit -1", "", "must not be negative", nil},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, asked, err := run(t, false, strings.Fields(tt.args)...)
			if out != tt.out || fmt.Sprint(asked) != fmt.Sprint(tt.asked) || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%v\n%s\nasked %q, want %q", err, out, asked, tt.asked)
			}
			if n := strings.Count(errs, "connecting again"); strings.Contains(tt.args, "f") && n != 2 && tt.err == "that is all" {
				t.Errorf("%d times: %s", n, errs)
			}
		})
	}
}

func TestEventsAreOneObjectALine(t *testing.T) {
	out, _, _, err := run(t, true, "--limit", "2")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err != nil || len(lines) != 2 || !strings.HasPrefix(lines[0], `{"version":"v2","id":"2",`) || !strings.Contains(lines[0], `"eventData":null`) || !strings.Contains(lines[1], `"eventData":{"reason":`) {
		t.Errorf("%v, %s", err, out)
	}
}

func TestWithoutAServer(t *testing.T) {
	if _, _, err := commandtest.RunAt(t.Context(), t, "http://127.0.0.1:1", false, Command, "--follow"); err == nil || !strings.Contains(err.Error(), "no server at") {
		t.Errorf("%v", err)
	}
}
