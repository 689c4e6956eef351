package templates

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rundlet/rundlet/cmd/rundlet/command/commandtest"
)

// daemon answers as a server with the template app, and with builds that end as status says.
type daemon struct {
	mu       sync.Mutex
	requests []string // Method, path and body.
	logs     string   // Of the build: entries in JSON.
	status   string   // And reason.
	polled   func()
	uploaded int
}

const template = `{"templateID":"t1","buildID":"b2","names":["app"],"buildStatus":"ready","cpuCount":2,"memoryMB":512,"diskSizeMB":1024,"buildCount":2,
	"createdAt":"2026-01-02T03:04:05Z","updatedAt":"2026-01-03T03:04:05Z","builds":[
	{"buildID":"b2","status":"ready","createdAt":"2026-01-03T03:04:05Z","finishedAt":"2026-01-03T03:04:07.5Z"},{"buildID":"b1","status":"error","createdAt":"2026-01-02T03:04:05Z"}]}`

func (d *daemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	route := r.Method + " " + r.URL.Path
	if r.Method == http.MethodPut {
		d.uploaded += len(body)
		body = nil
	}
	d.requests = append(d.requests, strings.TrimSpace(route+" "+string(body)))
	switch {
	case route == "POST /v3/templates":
		fmt.Fprint(w, `{"templateID":"t1","buildID":"b2","names":["app"],"tags":["v1"]}`)
	case strings.HasPrefix(route, "GET /templates/t1/files/"):
		fmt.Fprintf(w, `{"present":false,"url":"http://%s/upload"}`, r.Host)
	case route == "PUT /upload", route == "DELETE /templates/app":
		w.WriteHeader(http.StatusNoContent)
	case route == "POST /v2/templates/t1/builds/b2":
		w.WriteHeader(http.StatusAccepted)
	case route == "GET /templates/t1/builds/b2/status":
		logs := d.logs
		if r.URL.Query().Get("logsOffset") != "0" {
			logs = ""
		}
		if d.polled != nil {
			d.polled()
		}
		fmt.Fprintf(w, `{"status":%s,"logEntries":[%s]}`, d.status, logs)
	case route == "GET /templates/t1/builds/b1/status":
		fmt.Fprint(w, `{"status":"error","reason":{"step":"3","message":"exit \u001b[31m7"},"logEntries":[]}`)
	case route == "GET /v2/templates":
		fmt.Fprintf(w, "[%s]", template)
	case route == "GET /templates/app":
		fmt.Fprint(w, template)
	case route == "GET /templates/t1/tags":
		fmt.Fprint(w, `[{"tag":"default","buildID":"b2","createdAt":"2026-01-03T03:04:05Z"},{"tag":"v1","buildID":"b2","createdAt":"2026-01-03T03:04:05Z"}]`)
	case route == "POST /templates/tags":
		fmt.Fprint(w, `{"buildID":"b2","tags":["x"]}`)
	case route == "GET /warm":
		fmt.Fprint(w, `[{"name":"app","ready":4,"now":3,"set":true},{"name":"old","ready":1,"missing":true}]`)
	case r.URL.Path == "/warm/app":
		w.WriteHeader(http.StatusNoContent)
	default:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"code":404,"message":"template not found"}`)
	}
}

// rundlet runs a command with a daemon, and returns its standard output and error.
func rundlet(t *testing.T, ctx context.Context, d *daemon, asJSON bool, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	return commandtest.Run(ctx, t, d.ServeHTTP, asJSON, Template, args...)
}

// project is a directory with a Dockerfile.
func project(t *testing.T, dockerText string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"Dockerfile": dockerText, "a.txt": "aaa", "b.txt": "bb"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// entry is a line of a log.
func entry(second, step, message string) string {
	text, _ := json.Marshal(message)
	return fmt.Sprintf(`{"timestamp":"2026-01-02T03:04:0%sZ","level":"info","step":%q,"message":%s}`, second, step, text)
}

const dockerText = "FROM template:base\nEXPOSE 80\nCOPY *.txt /x/\nRUN make\nCMD serve\n"

func logs() string {
	return strings.Join([]string{
		entry("0", "base", "[base] FROM base"), entry("0", "1", "CACHED [builder 1/6] USER root"), entry("0", "2", "CACHED [builder 2/6] WORKDIR /"),
		entry("1", "3", "[builder 3/6] COPY . /x/"), entry("2", "4", "[builder 4/6] RUN make"), entry("3", "4", "[builder 5/6] \x1b[1mok"),
		entry("4", "5", "[builder 5/6] USER user"), entry("4", "6", "[builder 6/6] WORKDIR"), entry("4.5", "finalize", "Finalizing the template"),
	}, ",")
}

func TestABuildIsShownInLines(t *testing.T) {
	d := &daemon{status: `"ready"`, logs: logs()}
	dir := project(t, dockerText)
	out, errs, err := rundlet(t, t.Context(), d, false, "build", dir, "--name", "app:v1", "--cpus", "3", "--memory", "768", "--no-cache")
	if err != nil || out != "app:v1 is ready: template t1, build b2\n" {
		t.Errorf("%q, %v", out, err)
	}
	want := []string{
		"note: " + dir + "/Dockerfile:2: EXPOSE has no effect on a template", "3/6 files of COPY: sent 5 B, N compressed", "    [base] FROM base",
		"1/6 USER root (cached)", "2/6 WORKDIR / (cached)", "3/6 line 3: COPY *.txt /x/", "3/6 done in 1s", "4/6 line 4: RUN make", "    [builder 5/6] ok", "4/6 done in 2s",
		"5/6 USER user", "5/6 done in 0s", "6/6 WORKDIR /home/user", "6/6 done in 500ms", "    Finalizing the template",
	}
	got := strings.Split(strings.TrimSpace(strings.Replace(errs, fmt.Sprintf("%d B compressed", d.uploaded), "N compressed", 1)), "\n")
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if d.uploaded == 0 || !slices.Contains(d.requests, `POST /v3/templates {"cpuCount":3,"memoryMB":768,"name":"app:v1"}`) {
		t.Errorf("requests %q", d.requests)
	}
	i := slices.IndexFunc(d.requests, func(r string) bool { return strings.HasPrefix(r, "POST /v2/templates/t1/builds/b2 ") })
	if recipe := d.requests[i]; !strings.Contains(recipe, `"force":true,"fromTemplate":"base","readyCmd":"sleep 20","startCmd":"serve","steps":[{"args":["root"],"type":"USER"}`) {
		t.Errorf("recipe %s", recipe)
	}
}

func TestABuildIsShownToPrograms(t *testing.T) {
	d := &daemon{status: `"error","reason":{"step":"4","message":"exit status 7"}`, logs: strings.Join(strings.Split(logs(), "},{")[:5], "},{") + "}"}
	out, _, err := rundlet(t, t.Context(), d, true, "build", project(t, dockerText), "--name", "app")
	if err == nil {
		t.Error("the build failed, and the command did not")
	}
	var got []string
	for line := range strings.Lines(out) {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if e.Event != "upload" {
			got = append(got, strings.TrimSpace(fmt.Sprint(e.Event, " ", e.Step, " ", e.Line, " ", e.State)))
		}
	}
	want := []string{
		"note  2", "begun  0", "log base 1", "step 1 0 cached", "step 2 0 cached", "step 3 3 running", "step 3 3 done", "step 4 4 running", "step 4 4 failed", "end 4 4 error",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestABuildThatFailsHasTheLine(t *testing.T) {
	dir := project(t, dockerText)
	for reason, want := range map[string]string{
		`{"step":"4","message":"failed to run command 'make': exit status 7"}`: dir + "/Dockerfile:4: RUN make: failed to run command 'make': exit status 7",
		`{"step":"base","message":"no such image"}`:                            dir + "/Dockerfile:1: FROM: no such image",
		`{"step":"5","message":"no room"}`:                                     dir + "/Dockerfile: USER user: no room",
		`{"step":"finalize","message":"not ready"}`:                            "start of the template: not ready",
		`{"message":"cancelled"}`:                                              "build of the template: cancelled",
	} {
		d := &daemon{status: `"error","reason":` + reason}
		if _, _, err := rundlet(t, t.Context(), d, false, "build", dir, "--name", "app"); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestWhatCannotBeBuiltIsRefusedBeforeAnyRequest(t *testing.T) {
	for text, want := range map[string]string{
		"FROM a\n\nADD http://x y": "/Dockerfile:3: ADD of a URL",
		"FROM a\nCOPY none y":      "/Dockerfile:2: source \"none\": no such file",
		"FROM a\nCOPY ../x y":      "/Dockerfile:2: source \"../x\": it is outside the context",
		"RUN x":                    "/Dockerfile:1: RUN stands before FROM",
		"# nothing":                "/Dockerfile: the Dockerfile has no FROM",
	} {
		d, dir := &daemon{}, project(t, text)
		if _, _, err := rundlet(t, t.Context(), d, false, "build", dir, "--name", "app"); err == nil || !strings.HasPrefix(err.Error(), dir+want) || len(d.requests) > 0 {
			t.Errorf("%q: %v, requests %q", text, err, d.requests)
		}
	}
	dir := project(t, dockerText)
	for line, want := range map[string]string{
		"":                                "name",
		"--name a --file none":            "no such file",
		"--name a --build-arg X_IS_UNSET": "want NAME=VALUE",
		"--name a --build-arg =x":         "want NAME=VALUE",
	} {
		d := &daemon{}
		if _, _, err := rundlet(t, t.Context(), d, false, append([]string{"build", dir}, strings.Fields(line)...)...); err == nil || !strings.Contains(err.Error(), want) || len(d.requests) > 0 {
			t.Errorf("%q: %v, requests %q", line, err, d.requests)
		}
	}
}

// Ctrl-C stops watching, and says so.
func TestABuildGoesOnWithoutItsClient(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d := &daemon{status: `"building"`, polled: cancel}
	_, errs, err := rundlet(t, ctx, d, false, "build", project(t, dockerText), "--name", "app")
	if !errors.Is(err, context.Canceled) || !strings.Contains(errs, "The build goes on") || !strings.Contains(errs, "rundlet template logs --follow t1 b2\n") {
		t.Errorf("%v, %q", err, errs)
	}
	cancel()
	if _, errs, err = rundlet(t, ctx, &daemon{}, false, "build", project(t, dockerText), "--name", "app"); !errors.Is(err, context.Canceled) || !strings.Contains(errs, "was not started") {
		t.Errorf("%v, %q", err, errs)
	}
}

func TestTables(t *testing.T) {
	d := &daemon{status: `"ready"`, logs: entry("0", "1", "a\x1b[2Jb")}
	for line, want := range map[string][]string{
		"ls":               {"NAME", "app   t1  ready  2     512 MiB  2"},
		"inspect app":      {"memory", "512 MiB", "tag v1", "b2, since 2026"},
		"history app":      {"b2     ready  default, v1", "2.5s", "b1     error", "3: exit 7"},
		"tag app x":        {"b2"},
		"logs app":         {"1        ab\n"},
		"logs app b2":      {"1        ab\n"},
		"rm app":           {},
		"warm":             {"app   4     3    rundlet template warm\n", "old   1     0    the start of the server; the template does not exist yet\n"},
		"warm app 4":       {"app   4"},
		"warm app --reset": {"app   4"},
		"logs app -h":      {"--follow"},
		"tag --help":       {"TAG"},
		"history -h":       {"newest first"},
		"inspect --help":   {"NAME"},
	} {
		out, _, err := rundlet(t, t.Context(), d, false, strings.Fields(line)...)
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: no %q in\n%s", line, w, out)
			}
		}
		if strings.HasSuffix(line, "-h") || strings.HasSuffix(line, "--help") {
			continue
		}
		out, _, err = rundlet(t, t.Context(), d, true, strings.Fields(line)...)
		var v any
		if err != nil || json.Unmarshal([]byte(out), &v) != nil {
			t.Errorf("%s with JSON: %v, %q", line, err, out)
		}
	}
}

func TestATemplateThatIsNotThere(t *testing.T) {
	for _, line := range []string{"inspect none", "history none", "logs none", "rm none"} {
		if _, _, err := rundlet(t, t.Context(), &daemon{}, false, strings.Fields(line)...); err == nil || !strings.Contains(err.Error(), "template none: template not found") {
			t.Errorf("%s: %v", line, err)
		}
	}
	d := &daemon{}
	_, _, err := rundlet(t, t.Context(), d, false, "rm", "none", "app")
	if err == nil || !slices.Contains(d.requests, "DELETE /templates/app") || slices.Contains(d.requests, "DELETE /templates/none") {
		t.Errorf("%v, requests %q", err, d.requests)
	}
}

func TestARepositoryIsBuiltWithoutADockerfile(t *testing.T) {
	recipe := func(args ...string) (string, error) {
		d := &daemon{status: `"ready"`}
		_, _, err := rundlet(t, t.Context(), d, false, append([]string{"build", "--name", "app"}, args...)...)
		i := slices.IndexFunc(d.requests, func(r string) bool { return strings.HasPrefix(r, "POST /v2/templates/t1/builds/b2 ") })
		if i < 0 {
			return strings.Join(d.requests, ","), err
		}
		return strings.TrimPrefix(d.requests[i], "POST /v2/templates/t1/builds/b2 "), err
	}
	dir := project(t, "FROM template:base\nRUN make\n")
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"the base": {[]string{"--repo", "https://h/x", "--ref", "main", "--run", "one", "--run", "two", "--start", "serve", "--ready", "true", "--warm-up", "warm"},
			`{"fromTemplate":"base","readyCmd":"true","startCmd":"serve","steps":[{"args":["https://h/x","main"],"type":"CLONE"},{"args":["one"],"type":"RUN"},{"args":["two"],"type":"RUN"}],"warmUpCmds":["warm"]}`},
		"a template":          {[]string{"--repo", "https://h/x", "--from-template", "tools"}, `{"fromTemplate":"tools","steps":[{"args":["https://h/x",""],"type":"CLONE"}]}`},
		"behind a Dockerfile": {[]string{dir, "--repo", "https://h/x"}, `{"args":["make"],"type":"RUN"},{"args":["user"],"type":"USER"},{"args":["/home/user"],"type":"WORKDIR"},{"args":["https://h/x",""],"type":"CLONE"}]}`},
		"a warm-up alone":     {[]string{dir, "--warm-up", "warm"}, `"warmUpCmds":["warm"]}`},
	} {
		if got, err := recipe(tt.args...); err != nil || !strings.HasSuffix(got, tt.want) {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, got, tt.want)
		}
	}
	for want, args := range map[string][]string{
		"--ref needs --repo":             {dir, "--ref", "main"},
		"--build-arg needs a Dockerfile": {"--repo", "https://h/x", "--build-arg", "A=1"},
	} {
		if got, err := recipe(args...); err == nil || !strings.Contains(err.Error(), want) || got != "" {
			t.Errorf("%q: %v, requests %s", args, err, got)
		}
	}
}

func TestWarmAsksForWhatItSays(t *testing.T) {
	for line, want := range map[string]string{"warm": "", "warm app 4": `PUT /warm/app`, "warm app --reset": "DELETE /warm/app"} {
		d := &daemon{}
		if _, _, err := rundlet(t, t.Context(), d, false, strings.Fields(line)...); err != nil || strings.Join(d.requests, ",") != strings.TrimPrefix(want+",GET /warm", ",") {
			t.Errorf("%s: %v, requests %q", line, err, d.requests)
		}
	}
	for line, want := range map[string]string{
		"warm app": "want no argument", "warm --reset": "want no argument", "warm app 1 --reset": "want no argument", "warm app many": "not a number", "warm gone 1": "template gone: template not found",
	} {
		d := &daemon{}
		if _, _, err := rundlet(t, t.Context(), d, false, strings.Fields(line)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", line, err)
		}
	}
}
