package daemon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/runtime"
)

// mark is in every value of a header, and nowhere else.
const mark = "q7RwXs2"

// failingSlots is a network whose changes fail while fail is set.
type failingSlots struct {
	openSlots
	fail atomic.Bool
}

func (s *failingSlots) SetEgress(context.Context, string, egress.Policy) error {
	if s.fail.Load() {
		return errors.New("the kernel refuses")
	}
	return nil
}

// journal is a log of all levels.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// secretive is a server of a whole node whose clients use headers.
type secretive struct {
	t        *testing.T
	n        *node.Node
	dir      string
	url, key string
	network  failingSlots
	log      journal
}

func (s *secretive) do(method, path, body string, header ...string) (code int, answer string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("X-API-Key", s.key)
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// make returns the id of a new sandbox of an answer.
func (s *secretive) id(answer string) string {
	s.t.Helper()
	_, rest, ok := strings.Cut(answer, `"sandboxID":"`)
	id, _, end := strings.Cut(rest, `"`)
	if !ok || !end {
		s.t.Fatalf("no sandbox in %s", strings.ReplaceAll(answer, mark, "..."))
	}
	return id
}

// stored are the files of the state directory that have a value.
func (s *secretive) stored() (files []string) {
	s.t.Helper()
	seen := 0
	if err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		seen++
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(mark)) {
			files = append(files, filepath.Base(path))
		}
		return err
	}); err != nil || seen == 0 {
		s.t.Fatal(seen, err)
	}
	return files
}

func newSecretive(t *testing.T) *secretive {
	t.Helper()
	s := &secretive{t: t}
	serving, n := newServingOf(t, func(cfg *runtime.Config) {
		cfg.Network, cfg.Authority = &s.network, "certificates"
		cfg.Log = slog.New(slog.NewJSONHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	s.n, s.dir = n, serving.dirs.StateDir
	keys := &e2b.MemoryKeys{}
	_, key, err := keys.Create(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url, s.key = "http://"+ln.Addr().String(), key
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- e2b.NewServer(e2b.Config{Grace: time.Second, Log: slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}, n.Runtime, keys).Serve(ctx, ln)
	}()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-served, n.Close(node.EndAll)); err != nil {
			t.Error(err)
		}
	})
	return s
}

func rulesWith(headers string) string {
	return `{"rules":{"A.example":[{"transform":{"headers":` + headers + `}}]}}`
}

// Only the detail of a sandbox has the values of its headers, and the database while it is there.
func TestValuesOfHeadersAreNowhereElse(t *testing.T) {
	s := newSecretive(t)
	create := func(network string) string { return `{"templateID":"base","timeout":600,"network":` + network + `}` }
	long := strings.Repeat("long value ", 100)
	good := rulesWith(`{"Authorization":"Bearer ` + mark + `","X-Long":"` + mark + long + `"}`)
	code, answer := s.do("POST", "/v2/sandboxes", create(good), "Idempotency-Key: a")
	if code != http.StatusCreated || strings.Contains(answer, mark) {
		t.Fatalf("create: %d", code)
	}
	id := s.id(answer)
	if _, detail := s.do("GET", "/sandboxes/"+id, ""); !strings.Contains(detail, "Bearer "+mark) || !strings.Contains(detail, `"a.example"`) {
		t.Error("the detail does not have the rules")
	}
	wrong := []string{
		rulesWith(`{"A":"` + mark + `\n"}`), rulesWith(`{"A":"` + mark + strings.Repeat("x", egress.MaxHeaderText) + `"}`), rulesWith(`{"A":"${e2b.` + mark + `}"}`),
		rulesWith(`{"A: ` + mark + `":""}`), rulesWith(`{"Host":"` + mark + `"}`), rulesWith(`"` + mark + `"`), rulesWith(`["` + mark + `"]`), rulesWith(`{"A":["` + mark + `"]}`),
		rulesWith(`{"a":"` + mark + `","A":"` + mark + `"}`), rulesWith(`{"A":"`+mark+`"}`) + `}`, `{"rules":"` + mark + `"}`,
		`{"rules":{"a.example":[{"transform":{"headers":{"A":"` + mark + `"}}},{}]}}`, `{"rules":{"a.example":[{"transform":{"headers":{"A":"` + mark + `"},"x":1}}]}}`,
		`{"egressProxy":{"address":"x"},"rules":{"a.example":[{"transform":{"headers":{"A":"` + mark + `"}}}]}}`,
		`{"egressProxy":{"address":"x:1","password":"` + mark + `"}}`, `{"egressProxy":{"address":"x","username":"u","password":"` + mark + `"}}`,
		`{"egressProxy":{"address":"x:1","username":"u","password":"` + mark + strings.Repeat("x", egress.MaxProxyUser) + `"}}`,
		`{"egressProxy":{"address":"x:1","username":"u","password":["` + mark + `"]}}`, `{"egressProxy":"socks5://u:` + mark + `@x:1"}`,
	}
	type call struct{ method, path, body string }
	var calls []call
	for _, network := range wrong {
		calls = append(calls, call{"POST", "/sandboxes", create(network)}, call{"POST", "/v2/sandboxes", create(network)}, call{"PUT", "/sandboxes/" + id + "/network", network})
	}
	for _, c := range calls {
		if code, answer := s.do(c.method, c.path, c.body); code < 400 || strings.Contains(answer, mark) {
			t.Errorf("%s %s: %d for %s, or the answer has a value", c.method, c.path, code, strings.ReplaceAll(c.body, mark, "..."))
		}
	}
	if code, answer := s.do("POST", "/v2/sandboxes", create(rulesWith(`{"A":"`+mark+`"}`)), "Idempotency-Key: a"); code != http.StatusUnprocessableEntity || strings.Contains(answer, mark) {
		t.Errorf("another request with the key: %d", code)
	}
	s.network.fail.Store(true)
	if code, answer := s.do("PUT", "/sandboxes/"+id+"/network", good); code != http.StatusInternalServerError || strings.Contains(answer, mark) {
		t.Errorf("a network that fails: %d", code)
	}
	s.network.fail.Store(false)
	ids := []string{id}
	for _, c := range []call{
		{"PUT", "/sandboxes/" + id + "/network", rulesWith(`{"A":"` + mark + ` second","X-Long":"` + strings.Repeat("2nd ", 300) + mark + `"}`)},
		{"POST", "/sandboxes/" + id + "/fork", `{"count":1,"timeout":600}`},
		{"POST", "/sandboxes/" + id + "/pause", ``}, {"POST", "/v2/sandboxes/" + id + "/connect", `{"timeout":600}`},
		{"GET", "/sandboxes", ``}, {"GET", "/v2/sandboxes", ``}, {"GET", "/sandboxes/" + id + "/network/refused", ``},
		{"GET", "/sandboxes/" + id + "/network/traffic", ``},
	} {
		code, answer := s.do(c.method, c.path, c.body)
		if code >= 300 || strings.Contains(answer, mark) {
			t.Errorf("%s %s: %d", c.method, c.path, code)
		}
		if strings.HasSuffix(c.path, "/fork") {
			ids = append(ids, s.id(answer))
		}
	}
	if len(s.stored()) == 0 {
		t.Error("no file has a value while the sandboxes are there: the search is wrong")
	}
	for _, id := range ids {
		if code, answer := s.do("DELETE", "/sandboxes/"+id, ""); code != http.StatusNoContent {
			t.Errorf("kill: %d %s", code, answer)
		}
	}
	// The write-ahead log has it until it is emptied, as the daemon does regularly and when it ends.
	if err := s.n.Store.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if files := s.stored(); len(files) > 0 {
		t.Errorf("a value is in %v after the kill", files)
	}
	if text := s.log.String(); strings.Contains(text, mark) || !strings.Contains(text, "the kernel refuses") || !strings.Contains(text, "sandbox ended") {
		t.Errorf("the log has a value, or not what happened: %s", strings.ReplaceAll(text, mark, "..."))
	}
}

// Nothing shows the password of a proxy, and the database has it while the sandbox is there.
func TestThePasswordOfAProxyIsNowhereElse(t *testing.T) {
	s := newSecretive(t)
	proxy := `{"egressProxy":{"address":"proxy.example:1080","username":"u","password":"` + mark + `"}}`
	code, answer := s.do("POST", "/v2/sandboxes", `{"templateID":"base","timeout":600,"network":`+proxy+`}`)
	if code != http.StatusCreated || strings.Contains(answer, mark) {
		t.Fatalf("create: %d", code)
	}
	id := s.id(answer)
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/sandboxes/" + id, ""}, {"GET", "/v2/sandboxes", ""}, {"PUT", "/sandboxes/" + id + "/network", proxy},
		{"POST", "/sandboxes/" + id + "/snapshots", `{"name":"a"}`}, {"POST", "/sandboxes/" + id + "/fork", `{"timeout":600}`}, {"POST", "/sandboxes/" + id + "/pause", "{}"},
		{"POST", "/sandboxes/" + id + "/connect", `{"timeout":600}`},
	} {
		if code, answer := s.do(c.method, c.path, c.body); code >= 300 || strings.Contains(answer, mark) {
			t.Errorf("%s %s: %d, or it shows the password", c.method, c.path, code)
		}
	}
	if files := s.stored(); len(files) == 0 {
		t.Error("the search finds no password where there is one")
	}
	code, list := s.do("GET", "/v2/sandboxes", "")
	for _, part := range strings.Split(list, `"sandboxID":"`)[1:] {
		id, _, _ := strings.Cut(part, `"`)
		if code, answer := s.do("DELETE", "/sandboxes/"+id, ""); code != http.StatusNoContent {
			t.Errorf("kill: %d %s", code, answer)
		}
	}
	if code != http.StatusOK || len(strings.Split(list, `"sandboxID":"`)) < 3 {
		t.Errorf("list: %d", code)
	}
	if err := s.n.Store.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if files := s.stored(); len(files) > 0 {
		t.Errorf("the password is left in %v", files)
	}
	if text := s.log.String(); strings.Contains(text, mark) || !strings.Contains(text, "sandbox ended") {
		t.Errorf("the log has the password, or not what happened: %s", strings.ReplaceAll(text, mark, "..."))
	}
}
