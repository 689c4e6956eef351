package e2e

import (
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

// origin is a git repository, served over HTTP in the internet of a test.
type origin struct {
	t    *testing.T
	work string // a work tree beside the repository
	url  string

	mu   sync.Mutex
	held chan struct{} // requests wait until it is closed; nil is none
	down bool          // requests fail
	came chan struct{} // receives while requests are held
}

const originPort = "8418"

// makeRepository makes a repository with a branch main, and what serves it over HTTP.
func makeRepository(t *testing.T) (*origin, http.Handler) {
	t.Helper()
	dir := t.TempDir()
	o := &origin{t: t, work: filepath.Join(dir, "work"), url: "http://" + internetAddr + ":" + originPort + "/app.git", came: make(chan struct{}, 1)}
	o.git(dir, "init", "--quiet", "--bare", "-b", "main", "app.git")
	o.git(dir, "init", "--quiet", "-b", "main", o.work)
	o.git(o.work, "remote", "add", "origin", filepath.Join(dir, "app.git"))
	backend := &cgi.Handler{Path: strings.TrimSpace(o.git(dir, "--exec-path")) + "/git-http-backend", Env: []string{
		"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}, Stderr: io.Discard}
	return o, backend
}

// makeOrigin makes a repository, and the internet in which it is.
func makeOrigin(t *testing.T) *origin {
	t.Helper()
	o, backend := makeRepository(t)
	makeInternet(t, func() {
		ln, err := net.Listen("tcp4", ":"+originPort)
		if err != nil {
			t.Error(err)
			return
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			o.mu.Lock()
			held, down := o.held, o.down
			o.mu.Unlock()
			if held != nil {
				select {
				case o.came <- struct{}{}:
				default:
				}
				select {
				case <-held:
				case <-r.Context().Done():
					return
				}
			}
			if down {
				http.Error(w, "down", http.StatusServiceUnavailable)
				return
			}
			backend.ServeHTTP(w, r)
		})}
		go srv.Serve(ln)
		t.Cleanup(func() { srv.Close() })
	})
	return o
}

func (o *origin) git(dir string, args ...string) string {
	o.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "HOME="+dir,
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		o.t.Fatalf("git %q: %v: %s", args, err, out)
	}
	return string(out)
}

// commit pushes a commit whose file "version" has a text, and returns its id.
func (o *origin) commit(version string) string {
	o.t.Helper()
	if err := os.WriteFile(filepath.Join(o.work, "version"), []byte(version+"\n"), 0o644); err != nil {
		o.t.Fatal(err)
	}
	o.git(o.work, "add", "version")
	o.git(o.work, "commit", "--quiet", "-m", version)
	o.git(o.work, "push", "--quiet", "origin", "HEAD")
	return strings.TrimSpace(o.git(o.work, "rev-parse", "HEAD"))
}

// hold lets requests wait from now on, until release is called.
func (o *origin) hold() (release func()) {
	held := make(chan struct{})
	select {
	case <-o.came: // Of an earlier hold.
	default:
	}
	o.mu.Lock()
	o.held = held
	o.mu.Unlock()
	return sync.OnceFunc(func() {
		o.mu.Lock()
		o.held = nil
		o.mu.Unlock()
		close(held)
	})
}

func (o *origin) setDown(down bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.down = down
}

// asked waits until a request is held.
func (o *origin) asked() {
	o.t.Helper()
	select {
	case <-o.came:
	case <-time.After(time.Minute):
		o.t.Fatal("no sandbox asks for the repository")
	}
}

// read reads a file of a sandbox through the data plane.
func readFile(t *testing.T, sb client.Sandbox, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, apiURL+"/files?username=user&path="+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"E2b-Sandbox-Id": sb.ID, "E2b-Sandbox-Port": "49983", "X-Access-Token": sb.EnvdAccessToken} {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func phase(t *testing.T, api client.API, id string) client.Freshness {
	t.Helper()
	f, err := api.Freshness(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
