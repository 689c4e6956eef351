package e2b

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
)

// take makes a snapshot and returns its id.
func (n *node) take(id, body string) string {
	n.t.Helper()
	r := n.do("POST", "/sandboxes/"+id+"/snapshots", body)
	if r.code != 201 {
		n.t.Fatalf("snapshot: %d %s", r.code, r.body)
	}
	return r.fields(n.t)["snapshotID"].(string)
}

func TestSnapshot(t *testing.T) {
	// The id of one without a name is its own, and new each time.
	tests := []struct{ name, body, names, id string }{
		{"empty body", ``, `[]`, `snap000000000000000%d:default`},
		{"empty object", `{}`, `[]`, `snap000000000000000%d:default`},
		{"empty name", `{"name":""}`, `[]`, `snap000000000000000%d:default`},
		{"with memory", `{"memory":true}`, `[]`, `snap000000000000000%d:default`},
		{"named", `{"name":"my-snap_1"}`, `["my-snap_1"]`, `my-snap_1:default`},
		{"in upper case", `{"name":"My-Snap"}`, `["my-snap"]`, `my-snap:default`},
		{"default tag", `{"name":"snap:default"}`, `["snap"]`, `snap:default`},
		{"tag", `{"name":"snap:v1.2"}`, `["snap"]`, `snap:v1.2`},
		{"namespace", `{"name":"team/snap:v1"}`, `["team/snap"]`, `team/snap:v1`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, Config{})
			id := n.sandbox()
			for i, state := range []sandbox.State{sandbox.StateRunning, sandbox.StatePaused} {
				n.set(id, state)
				r := n.do("POST", "/sandboxes/"+id+"/snapshots", tt.body)
				if want := `{"names":` + tt.names + `,"snapshotID":"` + strings.ReplaceAll(tt.id, "%d", strconv.Itoa(i)) + `"}`; r.code != 201 || strings.TrimSpace(r.body) != want {
					t.Errorf("%s: %d %s, want %s", state, r.code, r.body, want)
				}
			}
		})
	}
}

func TestSnapshotRefuses(t *testing.T) {
	tests := []struct {
		name, body string
		code       int
		message    string
	}{
		{"path", `{"name":"../../etc/passwd"}`, 400, "a snapshot name is"},
		{"slashes", `{"name":"a/b/c"}`, 400, "a snapshot name is"},
		{"dot", `{"name":"."}`, 400, "a snapshot name is"},
		{"only a tag", `{"name":":v1"}`, 400, "a snapshot name is"},
		{"only the default tag", `{"name":":default"}`, 400, "a snapshot name is"},
		{"empty tag", `{"name":"snap:"}`, 400, "a snapshot name is"},
		{"the default tag twice", `{"name":"snap:default:default"}`, 400, "a snapshot name is"},
		{"two tags", `{"name":"snap:a:b"}`, 400, "a snapshot name is"},
		{"space", `{"name":"my snap"}`, 400, "a snapshot name is"},
		{"new line", `{"name":"snap\n"}`, 400, "a snapshot name is"},
		{"zero byte", `{"name":"snap\u0000"}`, 400, "a snapshot name is"},
		{"umlaut", `{"name":"schnäppchen"}`, 400, "a snapshot name is"},
		{"not a letter, but lower case of one", `{"name":"\u212Aelvin:v"}`, 201, ""},
		{"long", `{"name":"` + strings.Repeat("x", 129) + `"}`, 400, "a snapshot name is"},
		{"number", `{"name":7}`, 400, `"name"`},
		{"a template's", `{"name":"BASE:default"}`, 400, "\"base\" is the name of a template"},
		{"hyphen first", `{"name":"-rf"}`, 400, "a snapshot name is"},
		{"without memory", `{"memory":false}`, 400, "without memory"},
	}
	n := newNode(t, Config{})
	id := n.sandbox()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n.t = t
			r := n.do("POST", "/sandboxes/"+id+"/snapshots", tt.body)
			switch {
			case tt.name == "without memory":
				if !strings.Contains(r.body, `"error_code":"snapshot_filesystem_only_disabled"`) || r.code != 400 {
					t.Errorf("%d %s", r.code, r.body)
				}
			case tt.code >= 400:
				r.wantError(t, tt.code, tt.message)
			case r.code != tt.code:
				t.Errorf("%d %s", r.code, r.body)
			}
		})
	}
	n.t = t
	n.do("POST", "/sandboxes/iunknown/snapshots", `{}`).wantError(t, 404, "iunknown")
	n.set(id, sandbox.StatePausing)
	n.do("POST", "/sandboxes/"+id+"/snapshots", `{}`).wantError(t, 409, "its state is changing")
}

func TestListSnapshots(t *testing.T) {
	n := newNode(t, Config{})
	a, b := n.sandbox(), n.sandbox()
	ids := []string{n.take(a, `{"name":"one"}`), n.take(a, `{}`), n.take(b, `{"name":"two:v1"}`), n.take(b, `{"name":"One"}`)}
	if ids[0] != ids[3] {
		t.Errorf("the same name again has another id: %v", ids)
	}
	ids[0] = "snap0000000000000000:default" // What is left of it is found by what it was called first.
	n.do("POST", "/sandboxes/"+a+"/continuations", `{"reason":"idle"}`)
	tests := []struct {
		query string
		want  []int
	}{
		{"", []int{3, 2, 1, 0}},
		{"sandboxID=" + a, []int{1, 0}},
		{"sandboxID=" + a + "-rundlet", []int{1, 0}},
		{"sandboxID=iunknown", nil},
		{"name=one", []int{3}},
		{"name=ONE:default", []int{3}},
		{"name=two", []int{2}},
		{"name=two:default", nil},
		{"name=two:v1", []int{2}},
		{"name=" + ids[1], []int{1}},
		{"name=" + strings.TrimSuffix(ids[1], ":default"), []int{1}},
		{"name=unknown", nil},
		{"name=&sandboxID=", []int{3, 2, 1, 0}},
		{"limit=4", []int{3, 2, 1, 0}},
	}
	for _, tt := range tests {
		want := []string{}
		for _, i := range tt.want {
			want = append(want, ids[i])
		}
		r := n.do("GET", "/snapshots?"+tt.query, "")
		if got := r.ids(t, "snapshotID"); !slices.Equal(got, want) || r.header.Get("X-Next-Token") != "" {
			t.Errorf("%s: got %v, want %v", tt.query, got, want)
		}
	}
	// The name moved from the first to the last.
	want := `[{"names":["one"],"snapshotID":"` + ids[3] + `"},{"names":["two"],"snapshotID":"` + ids[2] + `"},` +
		`{"names":[],"snapshotID":"` + ids[1] + `"},{"names":[],"snapshotID":"` + ids[0] + `"}]`
	if r := n.do("GET", "/snapshots", ""); r.body != want {
		t.Errorf("%s\nwant %s", r.body, want)
	}
	var got []string
	for token, pages := "", 0; ; pages++ {
		r := n.do("GET", "/snapshots?limit=3&nextToken="+url.QueryEscape(token), "")
		got = append(got, r.ids(t, "snapshotID")...)
		if token = r.header.Get("X-Next-Token"); token == "" {
			if pages != 1 {
				t.Errorf("%d pages", pages+1)
			}
			break
		}
	}
	slices.Reverse(got)
	if !slices.Equal(got, ids) {
		t.Errorf("pages of %v, want %v", got, ids)
	}
	for _, query := range []string{"limit=0", "limit=101", "nextToken=x", "sandboxID=A", "name=..", "name=a%00"} {
		n.do("GET", "/snapshots?"+query, "").wantError(t, 400, "")
	}
}

func TestDeleteSnapshot(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	longest := strings.Repeat("x", 128)
	tests := []struct{ name, body, as string }{
		{"id", `{}`, "%s"},
		{"id with a tag", `{}`, "%s:default"},
		{"id with an encoded tag", `{}`, "%s%%3Adefault"},
		{"name", `{"name":"snap"}`, "snap"},
		{"name in upper case", `{"name":"snap"}`, "SNAP"},
		{"name and default tag", `{"name":"snap"}`, "snap:default"},
		{"name and tag", `{"name":"snap:v1"}`, "snap:v1"},
		{"encoded tag", `{"name":"snap:v1"}`, "snap%3Av1"},
		{"encoded namespace", `{"name":"ns/snap:v1"}`, "ns%2Fsnap%3Av1"},
		{"id of a named one", `{"name":"snap"}`, "%s"},
		{"id of the longest name", `{"name":"` + longest + `"}`, longest + ":default"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n.t = t
			snapshot := n.take(id, tt.body)
			if got := n.do("GET", "/snapshots?name="+url.QueryEscape(snapshot), "").ids(t, "snapshotID"); !slices.Equal(got, []string{snapshot}) {
				t.Errorf("listed by its id: %v", got)
			}
			path := "/templates/" + strings.ReplaceAll(strings.ReplaceAll(tt.as, "%s", strings.TrimSuffix(snapshot, ":default")), "%%", "%")
			if r := n.do("DELETE", path, ""); r.code != 204 || r.body != "" {
				t.Errorf("%d %s", r.code, r.body)
			}
			n.do("DELETE", path, "").wantError(t, 404, "not found")
			if got := n.do("GET", "/snapshots", "").ids(t, "snapshotID"); len(got) != 0 {
				t.Errorf("left: %v", got)
			}
		})
	}
	n.t = t
	n.take(id, `{"name":"kept"}`)
	n.do("DELETE", "/templates/kept:v2", "").wantError(t, 404, "snapshot 'kept:v2' not found")
	n.do("DELETE", "/templates/ns%2Fkept", "").wantError(t, 404, "template 'ns/kept' not found")
	for _, bad := range []string{"kept:", ":v1", "..%2Fkept", "%2e%2e", "a%00", strings.Repeat("x", 300)} {
		n.do("DELETE", "/templates/"+bad, "").wantError(t, 400, "")
	}
	if got := n.do("GET", "/snapshots", "").ids(t, "snapshotID"); len(got) != 1 {
		t.Errorf("left: %v", got)
	}
}

func TestCreateFromASnapshot(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	snapshot := n.take(id, `{"name":"snap"}`)
	n.do("DELETE", "/sandboxes/"+id, "")
	for _, template := range []string{snapshot, "snap", "snap:default", "SNAP", "snap0000000000000000", "snap0000000000000000:default"} {
		if r := n.do("POST", "/v2/sandboxes", `{"templateID":"`+template+`"}`); r.code != 201 {
			t.Errorf("%s: %d %s", template, r.code, r.body)
		}
	}
	n.do("DELETE", "/templates/snap", "")
	n.do("POST", "/v2/sandboxes", `{"templateID":"Snap:default"}`).wantError(t, 404, "template 'Snap:default' not found")
}
