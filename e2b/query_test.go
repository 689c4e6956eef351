package e2b

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/e2b/internal/wire"
	"github.com/rundlet/rundlet/sandbox"
)

// Clients repeat a list, join it by commas, or both, and leave values empty.
func TestListsInAnyForm(t *testing.T) {
	n := newNode(t, Config{})
	running, paused := n.sandbox(), n.sandbox()
	n.set(paused, sandbox.StatePaused)
	both := []string{paused, running}
	for query, want := range map[string][]string{
		"":                                       both,
		"state=":                                 both,
		"state=&state=":                          both,
		"state=,":                                both,
		"state":                                  both,
		"state=running":                          {running},
		"state=running&state=":                   {running},
		"state=running&state=running":            {running},
		"state=running&state=paused":             both,
		"state=paused,running":                   both,
		"state=running%2Cpaused":                 both,
		"state=running,%20paused":                both,
		"state=running,&state=,paused,running":   both,
		"state=paused&limit=&order=&nextToken=":  {paused},
		"template=&startedAfter=&metadata=":      both,
		"state=paused&order=asc&order=":          {paused},
		"unknown=&unknown=&state=paused&x=%2C+y": {paused},
	} {
		if got := n.do("GET", "/v2/sandboxes?"+query, "").ids(t, "sandboxID"); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", query, got, want)
		}
	}
	for _, query := range []string{"state=running&state=dead", "state=running,,dead", "limit=1&limit=2", "state=Running"} {
		n.do("GET", "/v2/sandboxes?"+query, "").wantError(t, 400, "")
	}
	many := url.Values{}
	for range 300 {
		many.Add("sandbox_ids", running)
	}
	for query, code := range map[string]int{
		"sandbox_ids=" + running + "," + paused:             200,
		"sandbox_ids=" + running + "&sandbox_ids=" + paused: 200,
		"sandbox_ids=" + running + ",&sandbox_ids=":         200,
		many.Encode():      200, // It is one.
		"":                 400,
		"sandbox_ids=":     400,
		"sandbox_ids=,":    400,
		"sandbox_ids=../x": 400,
		"sandbox_ids=a" + strings.Join(numbers(wire.MaxLimit), ""): 400,
	} {
		if r := n.do("GET", "/sandboxes/metrics?"+query, ""); r.code != code {
			t.Errorf("%.80q: %d %s", query, r.code, r.body)
		}
	}
	for _, query := range []string{"sandboxID=", "name=&limit=", "nextToken="} {
		if r := n.do("GET", "/snapshots?"+query, ""); r.code != 200 {
			t.Errorf("%q: %d %s", query, r.code, r.body)
		}
	}
	for _, path := range []string{"/sandboxes?metadata=", "/v2/templates?limit=&nextToken=", "/sandboxes/" + running + "/metrics?start=&end="} {
		if r := n.do("GET", path, ""); r.code != 200 {
			t.Errorf("%s: %d %s", path, r.code, r.body)
		}
	}
}

// numbers are n more elements of a list.
func numbers(n int) (out []string) {
	for i := range n {
		out = append(out, ",b"+strings.Repeat("0", i%10)+string(rune('a'+i%26))+string(rune('a'+i/26)))
	}
	return out
}
