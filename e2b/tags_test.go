package e2b

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
)

func TestATemplateIsThereWhenItIsReady(t *testing.T) {
	n := newNode(t, Config{})
	b := n.build("team/app:v1")
	n.do("GET", "/templates/aliases/team%2Fapp", "").wantError(t, 404, "template 'team/app' not found")
	n.do("POST", "/v2/sandboxes", `{"templateID":"team/app:v1"}`).wantError(t, 404, "not found")
	n.do("POST", "/v2"+b.path(), `{"fromTemplate":"base"}`)
	n.do("GET", "/templates/aliases/team%2Fapp%3Av1", "").wantError(t, 404, "not found")
	n.Finish(b.template, b.build, nil)
	for _, name := range []string{"team%2Fapp", "Team%2FApp%3AV1", b.template} {
		if r := n.do("GET", "/templates/aliases/"+name, ""); r.body != `{"public":false,"templateID":"`+b.template+`"}` {
			t.Errorf("%s: %d %s", name, r.code, r.body)
		}
	}
	for _, name := range []string{"team/app", "team/app:v1", "TEAM/APP:v1", b.template} {
		if r := n.do("POST", "/v2/sandboxes", `{"templateID":"`+name+`"}`); r.code != http.StatusCreated {
			t.Errorf("create from %s: %d %s", name, r.code, r.body)
		}
	}
	n.do("POST", "/v2/sandboxes", `{"templateID":"team/app:v2"}`).wantError(t, 404, "not found")
	for _, path := range []string{"/templates", "/v2/templates"} {
		if got := n.do("GET", path, "").ids(t, "templateID"); !slices.Equal(got, []string{b.template, "tpl0"}) {
			t.Errorf("%s: %v", path, got)
		}
	}
	n.do("POST", "/sandboxes/"+n.sandbox()+"/snapshots", `{"name":"team/app:v9"}`).wantError(t, 400, "is the name of a template")
}

func TestTheBuildsOfATemplateComeInPages(t *testing.T) {
	n := newNode(t, Config{})
	b := n.ready("app")
	want := []string{b.build}
	for range 4 {
		want = append(want, n.build("app").build)
	}
	slices.Reverse(want)
	var got []string
	token, pages := "", 0
	for {
		r := n.do("GET", "/templates/app?limit=2&nextToken="+url.QueryEscape(token), "")
		f := r.fields(t)
		if f["buildCount"] != 5.0 || f["buildStatus"] != "waiting" || f["buildID"] != b.build {
			t.Errorf("%s", r.body)
		}
		for _, one := range f["builds"].([]any) {
			got = append(got, one.(map[string]any)["buildID"].(string))
		}
		pages++
		if token = r.header.Get("X-Next-Token"); token == "" {
			break
		}
	}
	if pages != 3 || !slices.Equal(got, want) {
		t.Errorf("%d pages of %v, want 3 of %v", pages, got, want)
	}
	last := n.do("GET", "/templates/app", "").fields(t)["builds"].([]any)[4].(map[string]any)
	if last["status"] != "ready" || last["finishedAt"] == nil || last["updatedAt"] != last["finishedAt"] || last["cpuCount"] != 2.0 {
		t.Errorf("%v", last)
	}
	// One that was made of the host has the build that made it.
	if got := n.do("GET", "/templates/base", "").fields(t)["builds"].([]any); len(got) != 1 || got[0].(map[string]any)["status"] != "ready" {
		t.Errorf("%v", got)
	}
	for _, query := range []string{"limit=0", "limit=101", "nextToken=x"} {
		n.do("GET", "/templates/app?"+query, "").wantError(t, 400, "")
	}
}

func TestATemplateIsPublished(t *testing.T) {
	n := newNode(t, Config{})
	b := n.ready("app")
	public := func() any { return n.do("GET", "/templates/app", "").fields(t)["public"] }
	for _, step := range []struct {
		path, body, answer string
		public             bool
	}{
		{"/v2/templates/app", `{"public":true}`, `{"names":["app"]}`, true},
		{"/v2/templates/app", `{}`, `{"names":["app"]}`, true},
		{"/templates/" + b.template, `{"public":false}`, ``, false},
		{"/templates/App", `{"public":true,"name":"x"}`, ``, true},
	} {
		if r := n.do("PATCH", step.path, step.body); r.code != http.StatusOK || r.body != step.answer || public() != step.public {
			t.Errorf("%s %s: %d %s, public %v", step.path, step.body, r.code, r.body, public())
		}
	}
	for _, path := range []string{"/templates/nope", "/v2/templates/nope"} {
		n.do("PATCH", path, `{"public":true}`).wantError(t, 404, "template 'nope' not found")
	}
	n.do("PATCH", "/templates/app", `{"public":"yes"}`).wantError(t, 400, "public")
	n.do("PATCH", "/templates/app", ``).wantError(t, 400, "empty")
}

func TestTags(t *testing.T) {
	n := newNode(t, Config{})
	first := n.ready("app:v1")
	second := n.ready("app")
	tags := func() string {
		r := n.do("GET", "/templates/app/tags", "")
		var out []string
		for i, tag := range r.ids(t, "tag") {
			out = append(out, tag+"="+r.ids(t, "buildID")[i])
		}
		return strings.Join(out, " ")
	}
	if want := "default=" + second.build + " v1=" + first.build; tags() != want {
		t.Errorf("%s, want %s", tags(), want)
	}
	r := n.do("POST", "/templates/tags", `{"target":"App:V1","tags":["Stable","v1.0","stable"]}`)
	if want := `{"buildID":"` + first.build + `","tags":["stable","v1.0"]}`; r.code != http.StatusCreated || r.body != want {
		t.Errorf("%d %s, want %s", r.code, r.body, want)
	}
	for _, target := range []string{"app", "app:default", second.template} {
		r := n.do("POST", "/templates/tags", `{"target":"`+target+`","tags":["v1.0"]}`) // It moves.
		if want := `{"buildID":"` + second.build + `","tags":["v1.0"]}`; r.body != want {
			t.Errorf("%s: %d %s, want %s", target, r.code, r.body, want)
		}
	}
	if want := "default=" + second.build + " stable=" + first.build + " v1=" + first.build + " v1.0=" + second.build; tags() != want {
		t.Errorf("%s, want %s", tags(), want)
	}
	if r := n.do("DELETE", "/templates/tags", `{"name":"app","tags":["v1","V1.0"]}`); r.code != http.StatusNoContent || r.body != "" {
		t.Errorf("%d %s", r.code, r.body)
	}
	n.do("DELETE", "/templates/tags", `{"name":"app","tags":["v1","stable"]}`).wantError(t, 404, "tag 'v1, stable' not found")
	for _, tt := range []struct {
		method, body string
		code         int
		message      string
	}{
		{"POST", `{"target":"app:nope","tags":["a"]}`, 404, "tag 'app:nope' not found"},
		{"POST", `{"target":"nope","tags":["a"]}`, 404, "template 'nope' not found"},
		{"POST", `{"target":"app:","tags":["a"]}`, 400, "a tag is"},
		{"POST", `{"target":":v1","tags":["a"]}`, 400, "missing"},
		{"POST", `{"tags":["a"]}`, 400, "missing"},
		{"POST", `{"target":"app","tags":[]}`, 400, "from 1 to"},
		{"POST", `{"target":"app","tags":[":a"]}`, 400, "a tag is"},
		{"POST", `{"target":"app","tags":["app:"]}`, 400, "a tag is"},
		{"POST", `{"target":"app","tags":["` + first.build + `"]}`, 400, "UUID"},
		{"DELETE", `{"name":"app","tags":["default"]}`, 400, `"default" cannot be removed`},
		{"DELETE", `{"name":"app","tags":["stable","DEFAULT"]}`, 400, `"default" cannot be removed`},
		{"DELETE", `{"name":"nope","tags":["a"]}`, 404, "template 'nope' not found"},
		{"DELETE", `{"name":"app"}`, 400, "from 1 to"},
		{"DELETE", `{"name":"a b","tags":["a"]}`, 400, "the name of a template"},
	} {
		n.do(tt.method, "/templates/tags", tt.body).wantError(t, tt.code, tt.message)
	}
	n.do("GET", "/templates/nope/tags", "").wantError(t, 404, "template 'nope' not found")
	n.do("GET", "/templates/a%20b/tags", "").wantError(t, 400, "the name of a template")
	n.do("GET", "/templates/app/tags/groups", "").wantError(t, 501, "groups of tags")
	if want := "default=" + second.build + " stable=" + first.build; tags() != want {
		t.Errorf("%s, want %s", tags(), want)
	}
}

func TestATemplateIsDeleted(t *testing.T) {
	n := newNode(t, Config{})
	b := n.ready("app")
	n.take(n.sandbox(), `{"name":"snap:v1"}`)
	n.do("DELETE", "/templates/app:v1", "").wantError(t, 400, "deleted without a tag")
	n.do("DELETE", "/templates/app%3Adefault", "").wantError(t, 400, "deleted without a tag")
	n.do("DELETE", "/templates/base", "").wantError(t, 400, "files of the host")
	n.Fail(sandbox.ErrConflict)
	n.do("DELETE", "/templates/app", "").wantError(t, 409, "template 'app' is in a state")
	n.Fail(nil)
	if r := n.do("DELETE", "/templates/App", ""); r.code != http.StatusNoContent || r.body != "" {
		t.Errorf("%d %s", r.code, r.body)
	}
	for _, name := range []string{"app", b.template} {
		n.do("DELETE", "/templates/"+name, "").wantError(t, 404, "template '"+name+"' not found")
	}
	n.do("GET", b.path()+"/status", "").wantError(t, 404, "not found")
	// Snapshots are as they were, and go by the same route.
	if r := n.do("DELETE", "/templates/snap:v1", ""); r.code != http.StatusNoContent {
		t.Errorf("%d %s", r.code, r.body)
	}
	if got := n.build("app"); got.template == b.template {
		t.Error("a new template has the id of the old one")
	}
}
