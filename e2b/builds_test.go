package e2b

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
)

// filesHash is the hash of some files.
var filesHash = strings.Repeat("0123456789abcdef", 4)

// requested is a build that waits for its recipe.
type requested struct{ template, build string }

// path is that of the build.
func (b requested) path() string { return "/templates/" + b.template + "/builds/" + b.build }

// build requests one.
func (n *node) build(name string) requested {
	n.t.Helper()
	r := n.do("POST", "/v3/templates", `{"name":"`+name+`"}`)
	if r.code != http.StatusAccepted {
		n.t.Fatalf("request a build: %d %s", r.code, r.body)
	}
	f := r.fields(n.t)
	return requested{f["templateID"].(string), f["buildID"].(string)}
}

// ready builds a template.
func (n *node) ready(name string) requested {
	n.t.Helper()
	b := n.build(name)
	if r := n.do("POST", "/v2"+b.path(), `{"fromTemplate":"base"}`); r.code != http.StatusAccepted {
		n.t.Fatalf("start a build: %d %s", r.code, r.body)
	}
	n.Finish(b.template, b.build, nil)
	return b
}

func TestABuildIsRequested(t *testing.T) {
	const template, build = `"templateID":"tpl00000000000000000"`, `"buildID":"00000000-0000-4000-8000-000000000000"`
	answer := func(name, tags string) string {
		return `{"aliases":["` + name + `"],` + build + `,"names":["` + name + `"],"public":false,"tags":` + tags + `,` + template + `}`
	}
	for _, tt := range []struct{ name, body, want string }{
		{"a name", `{"name":"app"}`, answer("app", `["default"]`)},
		{"an alias, as older clients say", `{"alias":"app"}`, answer("app", `["default"]`)},
		{"upper case", `{"name":"My-App:V1"}`, answer("my-app", `["v1"]`)},
		{"a namespace", `{"name":"team/app"}`, answer("team/app", `["default"]`)},
		{"a tag in the name", `{"name":"app:v1"}`, answer("app", `["v1"]`)},
		{"tags", `{"name":"app","tags":["v1","v1.2","V1"]}`, answer("app", `["v1","v1.2"]`)},
		{"both", `{"name":"app:v1","tags":["latest","v1"]}`, answer("app", `["v1","latest"]`)},
		{"what SDKs send besides", `{"name":"app","teamID":"x","cpuCount":null,"memoryMB":null,"minFreeDiskMb":0,"tags":null}`, answer("app", `["default"]`)},
		{"a hyphen first", `{"name":"-_-"}`, answer("-_-", `["default"]`)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, Config{})
			if r := n.do("POST", "/v3/templates", tt.body); r.code != http.StatusAccepted || r.body != tt.want {
				t.Errorf("%d %s, want %s", r.code, r.body, tt.want)
			}
		})
	}
}

func TestARequestForABuildIsRefused(t *testing.T) {
	n := newNode(t, Config{})
	n.take(n.sandbox(), `{"name":"snap:v1"}`)
	for _, tt := range []struct{ body, message string }{
		{`{}`, "missing"},
		{`{"name":""}`, "missing"},
		{`{"name":":v1"}`, "missing"},
		{`{"name":"app:"}`, "a tag is"},
		{`{"name":"app:a:b"}`, "a tag is"},
		{`{"name":"app:a b"}`, "a tag is"},
		{`{"name":"app:6c3a6f3e-3e37-4a2e-9a4a-0c1f2a3b4c5d"}`, "UUID"},
		{`{"name":"a b"}`, "the name of a template is"},
		{`{"name":"a.b"}`, "the name of a template is"},
		{`{"name":"a/b/c"}`, "the name of a template is"},
		{`{"name":"../b"}`, "the name of a template is"},
		{`{"name":"app\n"}`, "the name of a template is"},
		{`{"name":"` + strings.Repeat("x", 129) + `"}`, "longer"},
		{`{"name":"app","tags":["a:b"]}`, "a tag is"},
		{`{"name":"app","tags":[""]}`, "a tag is"},
		{`{"name":"app","tags":["` + strings.Repeat("x", 129) + `"]}`, "a tag is"},
		{`{"name":"app","tags":[` + strings.Repeat(`"a",`, 100) + `"a"]}`, "from 1 to 100"},
		{`{"name":"app","tags":"v1"}`, `"tags"`},
		{`{"name":7}`, `"name"`},
		{`{"name":"app","cpuCount":0}`, "cpuCount"},
		{`{"name":"app","cpuCount":1.5}`, "cpuCount"},
		{`{"name":"app","memoryMB":127}`, "memoryMB"},
		{`{"name":"app","memoryMB":126}`, "memoryMB"},
		{`{"name":"app","memoryMB":513}`, "memoryMB"},
		{`{"name":"app","minFreeDiskMb":-1}`, "minFreeDiskMb"},
		{`{"name":"SNAP"}`, `"snap" is the name of a snapshot`},
		{`{"name":"base"}`, "files of the host"},
		{`[]`, "object"},
		{``, "empty"},
	} {
		for _, path := range []string{"/v3/templates", "/v2/templates"} {
			n.do("POST", path, tt.body).wantError(t, 400, tt.message)
		}
	}
	if got := n.do("GET", "/templates", "").ids(t, "templateID"); !slices.Equal(got, []string{"tpl0"}) {
		t.Errorf("templates: %v", got)
	}
}

func TestARequestForABuildHasSizes(t *testing.T) {
	n := newNode(t, Config{})
	r := n.do("POST", "/v2/templates", `{"alias":"app","cpuCount":4,"memoryMB":1024}`)
	f := r.fields(t)
	for name, want := range map[string]any{"cpuCount": 4.0, "memoryMB": 1024.0, "buildStatus": "waiting", "buildCount": 1.0, "aliases": []any{"app"}, "createdBy": nil} {
		if got, ok := f[name]; !ok || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if r.code != http.StatusAccepted {
		t.Errorf("%d", r.code)
	}
}

// A request with the same key for repetitions is one build, and another API key's is another.
func TestARequestForABuildIsNotRepeated(t *testing.T) {
	n := newNode(t, Config{})
	_, other, _ := n.server.callers.keys.Create(t.Context(), "other")
	request := func(key string) string {
		return n.do("POST", "/v3/templates", `{"name":"app"}`, "Idempotency-Key", "k", "X-API-Key", key).fields(t)["buildID"].(string)
	}
	first := request(n.key)
	if again := request(n.key); again != first {
		t.Errorf("another build: %s, first %s", again, first)
	}
	if got := request(other); got == first {
		t.Errorf("another key gets the build of the first")
	}
}

func TestARecipeIsPassedOn(t *testing.T) {
	n := newNode(t, Config{})
	steps := `[{"type":"COPY","args":["a","/b/","","0644"],"filesHash":"` + filesHash + `","force":true,"forceUpload":true,"resolveSymlinks":false,"gzip":true},` +
		`{"type":"run","args":["make"]},{"type":"ENV","args":["A","1","B",""]},{"type":"USER","args":["root"],"force":null},{"type":"WORKDIR","args":["/"]},{"type":"ARG","args":["A","1"]}]`
	want := []sandbox.RecipeStep{
		{Type: "COPY", Args: []string{"a", "/b/", "", "0644"}, FilesHash: filesHash, Force: true},
		{Type: "RUN", Args: []string{"make"}}, {Type: "ENV", Args: []string{"A", "1", "B", ""}}, {Type: "USER", Args: []string{"root"}},
		{Type: "WORKDIR", Args: []string{"/"}}, {Type: "ARG", Args: []string{"A", "1"}},
	}
	for _, tt := range []struct {
		body string
		want sandbox.Recipe
	}{
		{`{"fromImage":"ubuntu:22.04","steps":` + steps + `,"force":true,"startCmd":"serve","readyCmd":"sleep 1"}`,
			sandbox.Recipe{FromImage: "ubuntu:22.04", Steps: want, Force: true, StartCmd: "serve", ReadyCmd: "sleep 1"}},
		{`{"fromTemplate":"Base:Default","fromImage":""}`, sandbox.Recipe{FromTemplate: "base"}},
		{`{"fromTemplate":"ns/x:v1","fromImage":null,"fromImageRegistry":null,"steps":null}`, sandbox.Recipe{FromTemplate: "ns/x:v1"}},
		{`{"fromImage":"a","fromImageRegistry":{"type":"registry","username":"u","password":"p"}}`,
			sandbox.Recipe{FromImage: "a", Registry: &sandbox.Registry{Type: "registry", Username: "u", Password: "p"}}},
		{`{"fromImage":"a","fromImageRegistry":{"type":"aws","awsAccessKeyId":"i","awsSecretAccessKey":"s","awsRegion":"r"}}`,
			sandbox.Recipe{FromImage: "a", Registry: &sandbox.Registry{Type: "aws", AWSAccessKeyID: "i", AWSSecretAccessKey: "s", AWSRegion: "r"}}},
		{`{"fromImage":"a","fromImageRegistry":{"type":"gcp","serviceAccountJson":"{}"}}`,
			sandbox.Recipe{FromImage: "a", Registry: &sandbox.Registry{Type: "gcp", ServiceAccountJSON: "{}"}}},
	} {
		b := n.build("app")
		if err := n.PutFiles(t.Context(), b.template, filesHash, strings.NewReader("an archive")); err != nil {
			t.Fatal(err)
		}
		r := n.do("POST", "/v2"+b.path(), tt.body)
		// A body without a length would be one of JSON for clients.
		if r.code != http.StatusAccepted || r.body != "" || r.header.Get("Content-Length") != "0" {
			t.Errorf("%s: %d %v %s", tt.body, r.code, r.header, r.body)
		}
		got, _ := json.Marshal(n.Recipe(b.template, b.build))
		if want, _ := json.Marshal(tt.want); string(got) != string(want) {
			t.Errorf("%s\nis %s\nwant %s", tt.body, got, want)
		}
	}
	if path := "/v2" + n.build("app").path(); n.do("POST", path, `{"fromTemplate":"base"}`).code != http.StatusAccepted {
		t.Error("the newest build is not started")
	}
}

func TestARecipeIsRefused(t *testing.T) {
	n := newNode(t, Config{})
	b := n.build("app")
	step := func(s string) string {
		return `{"fromTemplate":"base","steps":[{"type":"USER","args":["root"]},` + s + `]}`
	}
	for _, tt := range []struct{ body, message string }{
		{`{}`, "exactly one"},
		{`{"fromImage":"","fromTemplate":""}`, "exactly one"},
		{`{"fromImage":"a","fromTemplate":"b"}`, "exactly one"},
		{`{"fromImage":"a b"}`, "reference"},
		{`{"fromImage":"` + strings.Repeat("x", 1025) + `"}`, "reference"},
		{`{"fromTemplate":"a b"}`, "the name of a template"},
		{`{"fromTemplate":"base","fromImageRegistry":{"type":"gcp","serviceAccountJson":"{}"}}`, "need fromImage"},
		{`{"fromImage":"a","fromImageRegistry":{}}`, "type"},
		{`{"fromImage":"a","fromImageRegistry":{"type":"ftp"}}`, "type"},
		{`{"fromImage":"a","fromImageRegistry":{"type":"aws","awsRegion":"r"}}`, "credentials"},
		{`{"fromTemplate":"base","steps":{}}`, "steps"},
		{`{"fromTemplate":"base","startCmd":"a\u0000"}`, "startCmd has a NUL byte"},
		{`{"fromTemplate":"base","readyCmd":"` + strings.Repeat("x", 128<<10) + `"}`, "readyCmd has a NUL byte or more than 65536 bytes"},
		{`{"fromTemplate":"base","steps":[` + strings.TrimSuffix(strings.Repeat(`{"type":"USER","args":["a"]},`, 1001), ",") + `]}`, "1000 steps"},
		{step(`{"args":["a"]}`), "is unknown: use COPY"},
		{step(`{"type":"EXPOSE","args":["80"]}`), "is unknown: use COPY"},
		{step(`{"type":"RUN"}`), "step 2: RUN needs a command"},
		{step(`{"type":"RUN","args":[""]}`), "RUN needs a command"},
		{step(`{"type":"COPY","args":["a"],"filesHash":"` + filesHash + `"}`), "COPY needs a source and a destination"},
		{step(`{"type":"COPY","args":["a","b"]}`), "filesHash"},
		{step(`{"type":"RUN","args":["a"],"filesHash":"` + filesHash + `"}`), "filesHash"},
		{step(`{"type":"COPY","args":["a","b"],"filesHash":"../../etc"}`), "64"},
		{step(`{"type":"COPY","args":["a","b"],"filesHash":"` + strings.ToUpper(filesHash) + `"}`), "64"},
		{step(`{"type":"ENV","args":["A"]}`), "ENV needs names with their values"},
		{step(`{"type":"ENV","args":["A","1","B"]}`), "step 2: ENV needs names with their values"},
		{step(`{"type":"RUN","args":["a\u0000b"]}`), "step 2: an argument has a NUL byte"},
		{step(`{"type":"RUN","args":["` + strings.Repeat("x", 128<<10) + `"]}`), "step 2: an argument has 131072 bytes"},
		{``, "empty"},
	} {
		n.do("POST", "/v2"+b.path(), tt.body).wantError(t, 400, tt.message)
	}
	n.do("POST", "/v2"+b.path(), `{"fromTemplate":"base","startCmd":"`+strings.Repeat("x", 1<<20)+`"}`).wantError(t, 413, "larger")
	for _, path := range []string{"/v2/templates/%s/builds/%s", "/templates/%s/builds/%s/status", "/templates/%s/builds/%s/logs"} {
		method, body := "GET", ""
		if strings.HasPrefix(path, "/v2") {
			method, body = "POST", `{"fromTemplate":"base"}`
		}
		n.do(method, fmt.Sprintf(path, "nope", b.build), body).wantError(t, 404, "template 'nope' not found")
		n.do(method, fmt.Sprintf(path, "a%20b", b.build), body).wantError(t, 400, "the name of a template")
		for _, id := range []string{"x", strings.ToUpper("0000000a") + b.build[8:], "00000000-0000-4000-8000-00000000ffff"} {
			n.do(method, fmt.Sprintf(path, b.template, id), body).wantError(t, 404, "build '"+id+"' not found")
		}
	}
	if got := n.Recipe(b.template, b.build); got != nil {
		t.Errorf("a recipe that was refused was started: %v", got)
	}
	n.do("POST", "/v2"+b.path(), `{"fromTemplate":"base"}`)
	n.do("POST", "/v2"+b.path(), `{"fromTemplate":"base"}`).wantError(t, 400, "build is not in waiting state")
}
