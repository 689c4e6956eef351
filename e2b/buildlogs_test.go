package e2b

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime/fakebuilds"
	"github.com/rundlet/rundlet/sandbox"
)

// status is a build as clients see it.
type status struct {
	Status     string
	Logs       []string
	LogEntries []struct{ Timestamp, Message, Level, Step string }
	Reason     *struct {
		Message, Step string
		LogEntries    []struct{ Message string }
	}
}

func (n *node) status(b requested, query string) (s status) {
	n.t.Helper()
	r := n.do("GET", b.path()+"/status"+query, "")
	if err := json.Unmarshal([]byte(r.body), &s); err != nil || r.code != http.StatusOK || s.Logs == nil || s.LogEntries == nil {
		n.t.Fatalf("%d %s: %v", r.code, r.body, err)
	}
	return s
}

// Clients poll from behind the lines that they have, until a build that has ended has no more.
func TestClientsSeeTheWholeLogOfABuild(t *testing.T) {
	n := newNode(t, Config{})
	b := n.build("app")
	if s := n.status(b, ""); s.Status != "waiting" || s.Reason != nil {
		t.Errorf("before its recipe: %+v", s)
	}
	n.do("POST", "/v2"+b.path(), `{"fromTemplate":"base"}`)
	var lines []sandbox.BuildLog
	for i := range 250 {
		lines = append(lines, sandbox.BuildLog{Time: fakebuilds.Epoch.Add(time.Duration(i) * time.Second), Level: "info", Step: "1", Message: fmt.Sprint(i)})
	}
	n.Log(b.template, b.build, lines[:30]...)
	var got []string
	poll := func() status {
		s := n.status(b, fmt.Sprintf("?logsOffset=%d", len(got)))
		for _, e := range s.LogEntries {
			got = append(got, e.Message)
		}
		return s
	}
	if s := poll(); s.Status != "building" || len(got) != 30 {
		t.Errorf("%s, %d lines", s.Status, len(got))
	}
	if poll(); len(got) != 30 {
		t.Errorf("%d lines", len(got))
	}
	n.Log(b.template, b.build, lines[30:]...)
	n.Finish(b.template, b.build, &sandbox.BuildFailure{Step: "1", Message: "no"})
	polls := 0
	for s := poll(); len(s.LogEntries) > 0; s = poll() {
		if polls++; s.Status != "error" || s.Reason == nil || s.Reason.Message != "no" || s.Reason.Step != "1" {
			t.Errorf("%+v", s)
		}
	}
	if polls != 3 || len(got) != 250 || got[249] != "249" || got[100] != "100" {
		t.Errorf("%d polls, %d lines", polls, len(got))
	}
	if last := n.status(b, "?logsOffset=999").Reason.LogEntries; len(last) != 20 || last[0].Message != "230" || last[19].Message != "249" {
		t.Errorf("the last lines: %v", last)
	}
}

func TestLinesOfALog(t *testing.T) {
	n := newNode(t, Config{})
	b := n.build("app")
	n.do("POST", "/v2"+b.path(), `{"fromTemplate":"base"}`)
	for i, level := range []string{"debug", "info", "warn", "error", "strange", "info"} {
		n.Log(b.template, b.build, sandbox.BuildLog{Time: fakebuilds.Epoch.Add(time.Duration(i) * time.Second), Level: level, Message: fmt.Sprint(i)})
	}
	second := fakebuilds.Epoch.UnixMilli() + 2000
	for _, tt := range []struct{ path, query, want string }{
		{"status", "", "0 1 2 3 4 5"},
		{"status", "logsOffset=4", "4 5"},
		{"status", "logsOffset=6", ""},
		{"status", "logsOffset=1&limit=2", "1 2"},
		{"status", "limit=0", ""},
		{"status", "level=debug", "0 1 2 3 4 5"},
		{"status", "level=info", "1 2 3 5"},
		{"status", "level=info&logsOffset=1&limit=2", "2 3"},
		{"status", "level=warn", "2 3"},
		{"status", "level=error&limit=0", ""},
		{"logs", "", "0 1 2 3 4 5"},
		{"logs", "limit=2", "0 1"},
		{"logs", "direction=forward&limit=1", "0"},
		{"logs", "direction=backward&limit=2", "5 4"},
		{"logs", "direction=backward&level=warn", "3 2"},
		{"logs", "direction=backward&limit=0", ""},
		{"logs", fmt.Sprint("cursor=", second), "2 3 4 5"},
		{"logs", fmt.Sprint("cursor=", second+1), "3 4 5"},
		{"logs", fmt.Sprint("direction=backward&cursor=", second), "2 1 0"},
		{"logs", fmt.Sprint("direction=backward&cursor=", second-1), "1 0"},
		{"logs", "source=persistent", "0 1 2 3 4 5"},
	} {
		r := n.do("GET", b.path()+"/"+tt.path+"?"+tt.query, "")
		var s struct {
			Logs, LogEntries []struct{ Message, Level string }
		}
		if err := json.Unmarshal([]byte(r.body), &s); err != nil || r.code != http.StatusOK {
			t.Fatalf("%d %s: %v", r.code, r.body, err)
		}
		var got []string
		for _, e := range slices.Concat(s.Logs, s.LogEntries) {
			if got = append(got, e.Message); !slices.Contains([]string{"debug", "info", "warn", "error"}, e.Level) {
				t.Errorf("level %q", e.Level)
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s?%s: %v, want %s", tt.path, tt.query, got, tt.want)
		}
	}
	for _, query := range []string{"status?limit=101", "status?limit=-1", "status?limit=x", "status?logsOffset=-1", "status?level=loud", "logs?direction=up", "logs?limit=101", "logs?cursor=-1", "logs?cursor=9e9"} {
		n.do("GET", b.path()+"/"+query, "").wantError(t, 400, "")
	}
}
