//go:build linux

package interpreter

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/agent/generation"
	"github.com/rundlet/rundlet/agent/interpreter/kernel"
)

func TestContexts(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	c := b.create(`{"language":"SH","cwd":"` + dir + `"}`)
	if c.Language != "bash" || c.Cwd != dir || b.made[1].cwd != dir || len(c.ID) != 36 {
		t.Errorf("%+v", c)
	}
	in := `,"context_id":"` + c.ID + `"`
	for _, step := range []struct{ code, more, want string }{
		{"1", "", "python 1"},
		{"2", `,"language":null,"context_id":null,"env_vars":null`, "python 2"},
		{"3", in, "bash 3"},
		{"4", `,"language":"bash"`, "bash 4"},
		{"5", `,"language":"python3"`, "python 5"},
		{"die", in, "KernelDied the kernel ended (exit status 1), and another one was started; the state of the context is lost"},
		{"6", in, "bash 6"},
	} {
		if got := b.run(step.code, step.more); got != step.want {
			t.Errorf("%s: %q, want %q", step.code, got, step.want)
		}
	}
	if len(b.made) != 4 {
		t.Errorf("%d kernels", len(b.made))
	}
	if status, list := b.ask("GET", "/contexts", ""); status != 200 || strings.Count(list, `"id"`) != 3 || !strings.Contains(list, c.ID) {
		t.Errorf("%d %s", status, list)
	}
	if status, _ := b.ask("POST", "/contexts/"+c.ID+"/restart", "{}"); status != 200 || len(b.made) != 5 {
		t.Errorf("restart: %d", status)
	}
	if status, _ := b.ask("DELETE", "/contexts/"+c.ID, ""); status != 204 {
		t.Errorf("remove: %d", status)
	}
	for _, path := range []string{"/execute", "/contexts/" + c.ID + "/restart", "/contexts/" + c.ID} {
		method := map[bool]string{true: "DELETE", false: "POST"}[path == "/contexts/"+c.ID]
		if status, text := b.ask(method, path, `{"context_id":"`+c.ID+`"}`); status != 404 || !strings.Contains(text, c.ID+" not found") {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
}

func TestTheDefaultContextIsMadeAgain(t *testing.T) {
	b := newBench(t)
	_, list := b.ask("GET", "/contexts", "")
	var all []*environment
	if err := json.Unmarshal([]byte(list), &all); err != nil || len(all) != 1 {
		t.Fatal(list, err)
	}
	if status, _ := b.ask("DELETE", "/contexts/"+all[0].ID, ""); status != 204 {
		t.Errorf("%d", status)
	}
	if got := b.run("1", ""); got != "python 1" || len(b.made) != 2 {
		t.Errorf("%q, %d kernels", got, len(b.made))
	}
}

func TestARestartAndARemovalEndARun(t *testing.T) {
	for want, end := range map[string]func(b *bench, id string){
		"ContextRestarted": func(b *bench, id string) { b.ask("POST", "/contexts/"+id+"/restart", "") },
		"ContextRemoved":   func(b *bench, id string) { b.ask("DELETE", "/contexts/"+id, "") },
	} {
		b := newBench(t)
		id := b.create("{}").ID
		resp, err := http.Post(b.url+"/execute", "application/json", strings.NewReader(`{"code":"hang","context_id":"`+id+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(resp.Body)
		lines.Scan()
		end(b, id)
		lines.Scan()
		if !strings.Contains(lines.Text(), want) {
			t.Errorf("%q, want %s", lines.Text(), want)
		}
		resp.Body.Close()
	}
}

func TestAClientThatLeavesEndsItsRun(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "POST", b.url+"/execute", strings.NewReader(`{"code":"wait"}`))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	bufio.NewScanner(resp.Body).Scan()
	cancel()
	resp.Body.Close()
	if got := b.run("1", ""); got != "python 1" {
		t.Errorf("%q", got)
	}
}

func TestRefusals(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		method, path, body string
		status             int
		text               string
	}{
		{"POST", "/execute", "{", 400, "invalid JSON"},
		{"POST", "/execute", "", 400, "invalid JSON"},
		{"POST", "/execute", `{"code":5}`, 400, "invalid JSON"},
		{"POST", "/execute", `{"code":"1","language":"python","context_id":"x"}`, 400, "only one of them"},
		{"POST", "/execute", `{"code":"1","language":"cobol"}`, 400, `invalid language "cobol"`},
		{"POST", "/execute", `{"code":"1","env_vars":{"a b":"c"}}`, 400, "invalid variable"},
		{"POST", "/execute", `{"code":"1","env_vars":{"a":"\u0000"}}`, 400, "invalid variable"},
		{"POST", "/execute", `{"code":"` + strings.Repeat("x", maxBody) + `"}`, 413, "at most 8388608 bytes"},
		{"POST", "/contexts", `{"cwd":"/none"}`, 400, `invalid cwd "/none"`},
		{"POST", "/contexts", `{"cwd":"/etc/passwd"}`, 400, "not a directory"},
		{"POST", "/contexts", `[]`, 400, "invalid JSON"},
		{"GET", "/execute", "", 405, ""},
		{"GET", "/x", "", 404, ""},
	} {
		if status, text := b.ask(c.method, c.path, c.body); status != c.status || !strings.Contains(text, c.text) {
			t.Errorf("%s %s %.50s: %d %.200s", c.method, c.path, c.body, status, text)
		}
	}
	for _, path := range []string{"/", "/health"} {
		if status, text := b.ask("GET", path, ""); status != 200 || text != "OK\n" {
			t.Errorf("%d %s", status, text)
		}
	}
	for range maxContexts - 1 {
		b.create("{}")
	}
	if status, text := b.ask("POST", "/contexts", "{}"); status != 429 || !strings.Contains(text, "at most 32") {
		t.Errorf("%d %s", status, text)
	}
}

func TestAKernelThatDoesNotStart(t *testing.T) {
	b := newBench(t)
	b.fail = errors.New("no module named ipykernel")
	if status, text := b.ask("POST", "/contexts", "{}"); status != 500 || !strings.Contains(text, "no module") {
		t.Errorf("%d %s", status, text)
	}
	if _, list := b.ask("GET", "/contexts", ""); strings.Count(list, `"id"`) != 1 {
		t.Errorf("%s", list)
	}
	if got := b.run("die", ""); !strings.Contains(got, "KernelDied") {
		t.Errorf("%q", got)
	}
	if got := b.run("1", ""); !strings.HasPrefix(got, "500 no module") {
		t.Errorf("%q", got)
	}
	b.fail = nil
	if got := b.run("1", ""); got != "python 1" {
		t.Errorf("%q", got)
	}
}

func TestAKernelGetsTheVariablesOfTheSandbox(t *testing.T) {
	b := newBench(t)
	write := func(path, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(b.root+path), 0o755), os.WriteFile(b.root+path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	b.run("before", "")
	write(generation.File, "first\n")
	write(generation.EnvironmentFile, `{"A":"1","not a name":"x","NUL":"\u0000"}`)
	b.run("first", `,"env_vars":{"B":"2"}`)
	b.run("again", "")
	write(generation.File, "second\n")
	write(generation.EnvironmentFile, `{"A":"2"}`)
	b.run("second", "")
	b.run("die", "")
	b.run("new kernel", "")
	write(generation.EnvironmentFile, "{")
	b.run("broken", "")
	want := []string{
		"before map[] map[] ", "first map[B:2] map[A:1] first", "again map[] map[A:1] first", "second map[] map[A:2] second", "die map[] map[A:2] second",
		"new kernel map[] map[A:2] second", "broken map[] map[] second",
	}
	var got []string
	for _, f := range b.made {
		for _, r := range f.runs {
			got = append(got, fmt.Sprint(r.Code, " ", r.Env, " ", r.Sandbox, " ", r.Generation))
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
}

func TestRunsThatWaitAreBounded(t *testing.T) {
	b := newBench(t)
	resp, err := http.Post(b.url+"/execute", "application/json", strings.NewReader(`{"code":"hang"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	bufio.NewScanner(resp.Body).Scan()
	var group sync.WaitGroup
	for range maxWaiting - 1 {
		resp, err := http.Post(b.url+"/execute", "application/json", strings.NewReader(`{"code":"1"}`))
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() { _, _ = io.Copy(io.Discard, resp.Body); resp.Body.Close() })
	}
	if got := b.run("one more", ""); !strings.HasPrefix(got, "429 ") {
		t.Errorf("%q", got)
	}
	b.made[0].Close()
	group.Wait()
}

// A queue of runs whose clients have left starts no kernels, one after the other.
func TestAClientThatIsGoneStartsNoKernel(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	started := 0
	c := contexts{dir: "/", defaults: map[string]*environment{}, start: func(context.Context, string, string, string) (kernel.Kernel, error) {
		started++
		return nil, errors.New("no kernel starts")
	}}
	e, err := c.reserve(python, "", true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ensure(ended, e, ""); !errors.Is(err, context.Canceled) || started > 0 {
		t.Errorf("%v, %d starts", err, started)
	}
}

// A client that does not send the rest of its request holds it for a while, and not for ever. A run may last longer.
func TestHalfARequest(t *testing.T) {
	b := newBench(t)
	b.server.bodyTime = 100 * time.Millisecond
	req, err := http.NewRequestWithContext(t.Context(), "POST", b.url+"/execute", strings.NewReader(`{"code":"wait"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, "waits") {
		t.Fatalf("%q, %v", line, err)
	}
	over := make(chan struct{})
	go func() {
		_, _ = lines.ReadString('\n')
		close(over)
	}()
	for range 2 {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(b.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, err = io.WriteString(conn, "POST /execute HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"code\":")
		if err = errors.Join(err, conn.SetReadDeadline(time.Now().Add(20*time.Second))); err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 408 ") {
			t.Errorf("%.200q, %v", text, err)
		}
	}
	select {
	case <-over:
		t.Error("the run ended with the time of its request")
	default:
	}
}
