package e2b

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/e2b/internal/wire"
	"github.com/rundlet/rundlet/sandbox"
)

// ids are the sandboxes, or templates, of a list.
func (r reply) ids(t *testing.T, field string) []string {
	t.Helper()
	var list []map[string]any
	if err := json.Unmarshal([]byte(r.body), &list); err != nil || r.code != http.StatusOK {
		t.Fatalf("%d %s: %v", r.code, r.body, err)
	}
	ids := []string{}
	for _, e := range list {
		ids = append(ids, e[field].(string))
	}
	return ids
}

func TestList(t *testing.T) {
	n := newNode(t, Config{})
	var ids []string
	for _, body := range []string{
		`{"templateID":"base","metadata":{"user":"a b+c%","n":"0"}}`,
		`{"templateID":"base","metadata":{"user":"a b+c%"}}`,
		`{"templateID":"base"}`,
	} {
		ids = append(ids, n.do("POST", "/sandboxes", body).fields(t)["sandboxID"].(string))
	}
	n.Edit(ids[1], func(sb *sandbox.Sandbox) { sb.State = sandbox.StatePaused })
	at := func(i int, more time.Duration) string {
		return url.QueryEscape(fakeruntime.Epoch.Add(time.Duration(i)*time.Second + more).Format(time.RFC3339Nano))
	}
	// As SDKs do it: pairs encoded, made a query string, which is encoded.
	metadata := func(k, v string) string {
		return "metadata=" + url.QueryEscape(url.Values{url.PathEscape(k): {strings.ReplaceAll(url.QueryEscape(v), "+", "%20")}}.Encode())
	}
	tests := []struct {
		name, query string
		want        []int
		total       string
	}{
		{"all, newest first", "", []int{2, 1, 0}, "2"},
		{"ascending", "order=asc", []int{0, 1, 2}, "2"},
		{"running", "state=running", []int{2, 0}, "2"},
		{"paused", "state=paused", []int{1}, ""},
		{"both", "state=running,paused", []int{2, 1, 0}, "2"},
		{"metadata", metadata("user", "a b+c%"), []int{1, 0}, "1"},
		{"metadata of two", metadata("user", "a b+c%") + url.QueryEscape("&n=0"), []int{0}, "1"},
		{"metadata of none", metadata("user", "x"), nil, "0"},
		{"template", "template=tpl0", []int{2, 1, 0}, "2"},
		{"alias", "template=base", []int{2, 1, 0}, "2"},
		{"unknown template", "template=x", nil, "0"},
		{"started after, inclusive", "startedAfter=" + at(1, 0), []int{2, 1}, "1"},
		{"started after, exclusive", "startedAfter=" + at(1, time.Millisecond), []int{2}, "1"},
		{"limit", "limit=3", []int{2, 1, 0}, "2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n.t = t
			r := n.do("GET", "/v2/sandboxes?"+tt.query, "")
			want := []string{}
			for _, i := range tt.want {
				want = append(want, ids[i])
			}
			if got := r.ids(t, "sandboxID"); !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			if got := r.header.Get("X-Total-Running"); got != tt.total {
				t.Errorf("X-Total-Running %q, want %q", got, tt.total)
			}
			if got := r.header.Get("X-Next-Token"); got != "" {
				t.Errorf("X-Next-Token %q on the last page", got)
			}
		})
	}
	n.t = t
	if got := n.do("GET", "/sandboxes?"+metadata("n", "0"), "").ids(t, "sandboxID"); !slices.Equal(got, ids[:1]) {
		t.Errorf("v1 list: %v", got)
	}
	if got := n.do("GET", "/sandboxes", "").ids(t, "sandboxID"); len(got) != 2 {
		t.Errorf("v1 list is of running ones: %v", got)
	}
}

func TestListRefuses(t *testing.T) {
	n := newNode(t, Config{})
	for _, query := range []string{
		"limit=0", "limit=-1", "limit=101", "limit=x", "limit=99999999999", "limit=1.5", "limit=1&limit=2",
		"order=up", "state=dead", "state=running,dead", "startedAfter=yesterday", "template=base:v1",
		"nextToken=x", "nextToken=" + strings.Repeat("A", 1000), "nextToken=AAAA",
		"nextToken=" + wire.FormatCursor(sandbox.Cursor{ID: "i0"}, true),
		"order=asc&nextToken=" + wire.FormatCursor(sandbox.Cursor{ID: "i0"}, false),
		"metadata=%25zz", "metadata=a%3D%2525", "metadata=a%3D1%26a%3D2", "metadata=a;b",
	} {
		t.Run(query, func(t *testing.T) {
			n.t = t
			n.do("GET", "/v2/sandboxes?"+query, "").wantError(t, 400, "")
		})
	}
}

func TestPages(t *testing.T) {
	n := newNode(t, Config{})
	var want []string
	for range 7 {
		want = append(want, n.do("POST", "/sandboxes", `{"templateID":"base"}`).fields(t)["sandboxID"].(string))
	}
	// A tie is broken by id.
	n.Edit(want[3], func(sb *sandbox.Sandbox) { sb.StartedAt = sb.StartedAt.Add(-time.Second) })
	for _, order := range []string{"asc", "desc"} {
		var got []string
		token, pages := "", 0
		for {
			r := n.do("GET", "/v2/sandboxes?limit=3&order="+order+"&nextToken="+token, "")
			got = append(got, r.ids(t, "sandboxID")...)
			pages++
			if token = r.header.Get("X-Next-Token"); token == "" {
				break
			}
		}
		all := n.do("GET", "/v2/sandboxes?order="+order, "").ids(t, "sandboxID")
		if pages != 3 || len(got) != 7 || !slices.Equal(got, all) {
			t.Errorf("%s: %d pages of %v, want 3 of %v", order, pages, got, all)
		}
	}
}

func TestTemplates(t *testing.T) {
	n := newNode(t, Config{})
	n.Known = append(n.Known, sandbox.Template{ID: "tpl1", CreatedAt: fakeruntime.Epoch.Add(time.Hour)})
	required := []string{"templateID", "buildID", "cpuCount", "memoryMB", "diskSizeMB", "public", "aliases", "names",
		"createdAt", "updatedAt", "createdBy", "lastSpawnedAt", "spawnCount", "buildCount", "envdVersion", "buildStatus"}
	for _, path := range []string{"/templates", "/v2/templates"} {
		r := n.do("GET", path, "")
		if got := r.ids(t, "templateID"); !slices.Equal(got, []string{"tpl1", "tpl0"}) {
			t.Errorf("%s: %v", path, got)
		}
		if !strings.Contains(r.body, `"aliases":[],`) {
			t.Errorf("%s: a template without aliases needs an empty list: %s", path, r.body)
		}
	}
	r := n.do("GET", "/v2/templates?limit=1", "")
	r2 := n.do("GET", "/v2/templates?limit=1&nextToken="+r.header.Get("X-Next-Token"), "")
	if got := append(r.ids(t, "templateID"), r2.ids(t, "templateID")...); !slices.Equal(got, []string{"tpl1", "tpl0"}) || r2.header.Get("X-Next-Token") != "" {
		t.Errorf("pages: %v %v", got, r2.header)
	}
	f := n.do("GET", "/templates/base", "").fields(t)
	for _, name := range append(required, "builds") {
		if _, ok := f[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	if r := n.do("GET", "/templates/aliases/base", ""); r.body != `{"public":false,"templateID":"tpl0"}` {
		t.Errorf("alias: %s", r.body)
	}
	n.do("GET", "/templates/aliases/ns%2Fx%3Av1", "").wantError(t, 404, "template 'ns/x:v1' not found")
	n.do("GET", "/templates/ns%2Fx", "").wantError(t, 404, "template 'ns/x' not found")
	n.do("GET", "/templates/"+strings.Repeat("x", 300), "").wantError(t, 400, "longer")
	n.do("GET", "/templates/aliases/a%20b", "").wantError(t, 400, "[namespace/]name[:tag]")
	n.do("GET", "/v2/templates?limit=0", "").wantError(t, 400, "limit")
	n.do("GET", "/v2/templates?nextToken=x", "").wantError(t, 400, "nextToken")
}
