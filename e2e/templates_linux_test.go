package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

// cli runs a command with a server, and returns its standard output, its standard error and its exit code.
func (s *server) cli(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := user.commandContext(t.Context(), os.Getenv(binEnv), args...)
	cmd.Env = s.cmd.Env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return out.String(), errs.String(), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), 0
}

// must is cli of a command that succeeds.
func (s *server) must(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	out, errs, code := s.cli(t, args...)
	if code != 0 {
		t.Fatalf("rundlet %q: exit %d: %s%s", args, code, out, errs)
	}
	return out, errs
}

const dockerText = `# A template with a bit of everything.
ARG WHO=world
FROM template:base
ARG WHO
ENV GREETING="hello $WHO" PRICE='5 $'
COPY --chmod=0700 tool.sh /opt/tool
COPY data src/*.conf /srv/data/
RUN <<EOF
echo "$GREETING" > /opt/greeting
EOF
RUN ["sh", "-c", "id -un > '/opt/a b'"]
USER worker
WORKDIR app
COPY --chown=worker data/one.txt ./
CMD echo started > /tmp/started; sleep infinity
`

// TestTemplatesOnTheCommandLine builds a Dockerfile, uses it, and looks at what is left.
func TestTemplatesOnTheCommandLine(t *testing.T) {
	srv, api, _ := newServer(t)
	dir := dirOfUser(t)
	for name, content := range map[string]string{
		"Dockerfile": dockerText, "tool.sh": "#!/bin/sh\necho tool\n", "data/one.txt": "1", "data/deep/two.txt": "2", "data/secret": "x",
		"src/a.conf": "a", "src/b.conf": "b", ".dockerignore": "**/secret\n",
		"Dockerfile.bad": "FROM template:base\nRUN true\n\nRUN echo oops >&2; exit 7\n",
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("one.txt", filepath.Join(dir, "data/link")); err != nil {
		t.Fatal(err)
	}
	build := []string{"template", "build", dir, "--name", "tool:v1", "--memory", "1024", "--ready", "test -s /tmp/started"}
	out, progress := srv.must(t, build...)
	if !strings.HasPrefix(out, "tool:v1 is ready: template ") || !strings.Contains(progress, "line 6: COPY --chmod=0700 tool.sh /opt/tool") || strings.Contains(progress, "cached") {
		t.Errorf("%s%s", out, progress)
	}

	list, _ := srv.must(t, "template", "ls")
	if !strings.Contains(list, "\ntool ") || !strings.Contains(list, "1024 MiB") {
		t.Errorf("%s", list)
	}
	sb, err := api.Create(t.Context(), "tool:v1", 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := srv.must(t, "sandbox", "exec", sb.ID, "--", "sh", "-c",
		`/opt/tool 2>&1 || sudo /opt/tool; cat /opt/greeting "/opt/a b" /tmp/started; pwd; id -un; echo "$PRICE"; stat -c '%U %n' *; cd /srv/data; find . -type f -o -type l | sort; readlink link; pgrep -f 'sleep infinity' >/dev/null && echo runs`)
	want := "hello world\nroot\nstarted\n/app\nworker\n5 $\nworker one.txt\n./a.conf\n./b.conf\n./deep/two.txt\n./link\n./one.txt\none.txt\nruns\n"
	if _, got, _ = strings.Cut(got, "tool\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	// The second build finds each step done, up to the last COPY, and says so line by line to programs.
	out, _ = srv.must(t, append([]string{"--json"}, build...)...)
	states, end := map[string]int{}, ""
	for line := range strings.Lines(out) {
		var e struct{ Event, State string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if e.Event == "step" {
			states[e.State]++
		}
		end = e.Event + " " + e.State
	}
	if end != "end ready" || states["cached"] == 0 || states["failed"] != 0 || states["running"] != 0 {
		t.Errorf("states %v, %s", states, end)
	}

	srv.must(t, "template", "tag", "tool:v1", "stable", "default")
	shown, _ := srv.must(t, "template", "inspect", "tool")
	for _, tag := range []string{"tag v1", "tag stable", "tag default"} {
		if !strings.Contains(shown, tag) {
			t.Errorf("no %s in %s", tag, shown)
		}
	}
	if stable, err := api.Create(t.Context(), "tool:stable", time.Minute); err != nil {
		t.Error(err)
	} else if err := api.Kill(t.Context(), stable.ID); err != nil {
		t.Error(err)
	}

	_, errs, code := srv.cli(t, "template", "build", dir, "--file", filepath.Join(dir, "Dockerfile.bad"), "--name", "tool")
	if code != 1 || !strings.Contains(errs, "Dockerfile.bad:4: RUN echo oops >&2; exit 7: failed to run command") || !strings.Contains(errs, "    oops\n") {
		t.Errorf("exit %d: %s", code, errs)
	}
	past, _ := srv.must(t, "template", "history", "tool")
	if strings.Count(past, " ready ") != 2 || strings.Count(past, " error ") != 1 || !strings.Contains(past, "default, stable, v1") || !strings.Contains(past, "4: failed to run command") {
		t.Errorf("%s", past)
	}
	if log, _ := srv.must(t, "template", "logs", "tool"); !strings.Contains(log, "oops") {
		t.Errorf("%s", log)
	}

	srv.must(t, "template", "rm", "tool")
	if _, errs, code := srv.cli(t, "template", "inspect", "tool"); code != 1 || !strings.Contains(errs, "not found") {
		t.Errorf("exit %d: %s", code, errs)
	}
	refusal := new(client.Error)
	if _, err := api.Create(t.Context(), "tool:v1", time.Minute); !errors.As(err, &refusal) || refusal.Code != 404 {
		t.Errorf("create from a template that is gone: %v", err)
	}
	if out, err := run(t.Context(), api, sb, "cat /opt/greeting"); err != nil || out != "hello world\n" {
		t.Errorf("the sandbox of a template that is gone: %q, %v", out, err)
	}
	if err := api.Kill(t.Context(), sb.ID); err != nil {
		t.Error(err)
	}
	srv.stop(t)
}

// TestABuildIsNotEndedByItsClient interrupts the command while a step runs. The build runs until another one of the template cancels it.
func TestABuildIsNotEndedByItsClient(t *testing.T) {
	srv, _, _ := newServer(t)
	dir := dirOfUser(t)
	for name, content := range map[string]string{"Dockerfile": "FROM template:base\nRUN echo waits; sleep infinity\n", "Dockerfile.next": "FROM template:base\nRUN true\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := user.commandContext(t.Context(), os.Getenv(binEnv), "template", "build", dir, "--name", "endless")
	cmd.Env = srv.cmd.Env
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if lines.Text() == "    waits" {
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
	}
	err = cmd.Wait()
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 130 || !strings.Contains(said.String(), "The build goes on. To watch it:\n  rundlet template logs --follow ") {
		t.Errorf("%v: %s", err, said.String())
	}
	if past, _ := srv.must(t, "template", "history", "endless"); !strings.Contains(past, " building ") {
		t.Errorf("%s", past)
	}
	srv.must(t, "template", "build", dir, "--file", filepath.Join(dir, "Dockerfile.next"), "--name", "endless")
	if past, _ := srv.must(t, "template", "history", "endless"); strings.Contains(past, " building ") || !strings.Contains(past, "another build of this template") || !strings.Contains(past, " ready ") {
		t.Errorf("%s", past)
	}
	srv.must(t, "template", "rm", "endless")
	srv.stop(t)
}

// TestATemplateIsBuiltFromYAML builds the same template from a Dockerfile and from YAML, which finds the layers of the first.
func TestATemplateIsBuiltFromYAML(t *testing.T) {
	srv, api, _ := newServer(t)
	dir := dirOfUser(t)
	for name, content := range map[string]string{
		"Dockerfile":   "FROM template:base\nENV GREETING=hello\nWORKDIR /srv/app\nCOPY one.txt ./\nRUN echo $GREETING > said\nUSER worker\n",
		"rundlet.yaml": "name: app\ntags: [v1, stable]\nfrom: template:base\nmemory: 1024\nsteps:\n  - env: {GREETING: hello}\n  - workdir: /srv/app\n  - copy: {from: one.txt, to: ./}\n  - run: echo $GREETING > said\n  - user: worker\n",
		"bad.yaml":     "name: app\nfrom: template:base\nsteps:\n  - run: echo oops >&2; exit 7\n", "worse.yaml": "from: template:base\n\nbake: x\n", "one.txt": "1",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	srv.must(t, "template", "build", dir, "--file", filepath.Join(dir, "Dockerfile"), "--name", "other", "--memory", "1024")
	out, progress := srv.must(t, "template", "build", dir)
	if !strings.HasPrefix(out, "app is ready: template ") || !strings.Contains(progress, "line 9: run: echo $GREETING > said") || !strings.Contains(progress, "cached") {
		t.Errorf("%s%s", out, progress)
	}
	for _, name := range []string{"app:v1", "app:stable"} {
		sb, err := api.Create(t.Context(), name, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := srv.must(t, "sandbox", "exec", sb.ID, "--", "sh", "-c", "id -un; pwd; cat said one.txt"); got != "worker\n/srv/app\nhello\n1" {
			t.Errorf("%s: %q", name, got)
		}
	}
	for file, want := range map[string]string{"bad.yaml": "bad.yaml:4: run: echo oops >&2; exit 7: failed", "worse.yaml": `worse.yaml:3: the file has no field "bake"`} {
		if _, errs, code := srv.cli(t, "template", "build", dir, "--file", filepath.Join(dir, file)); code != 1 || !strings.Contains(errs, want) {
			t.Errorf("%s: exit %d, %s", file, code, errs)
		}
	}
	srv.stop(t)
}
