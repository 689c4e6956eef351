package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	apiURL = "http://127.0.0.1:3000"
	// readyTimeout includes the first build of the base template.
	readyTimeout = 90 * time.Second
	stopTimeout  = 30 * time.Second
)

// server is the daemon under test.
type server struct {
	cmd *exec.Cmd
	// log is the file that all daemons of a directory write to; the lines of this
	// one begin at logged.
	log    string
	logged int64
	exited chan struct{} // closed when err is set
	err    error
	// sdkEnv is the output of "rundlet env": E2B_API_KEY and the rest.
	sdkEnv []string
}

// plainEnv begins the variables of a server without TLS.
var plainEnv = []string{"E2B_API_KEY=e2b_", "E2B_API_URL=" + apiURL, "E2B_SANDBOX_URL=" + apiURL}

// cold is for tests that count what is there: a pool fills at its own pace.
var cold = []string{"--warm=0", "--prepared=0"}

// startServer returns when the daemon answers. The caller stops it.
func startServer(t *testing.T, dir string, flags ...string) *server {
	t.Helper()
	s := launchServer(t, dir, nil, flags...)
	if err := s.waitReady(); err != nil {
		t.Fatalf("the server is not ready: %v\n%s", err, s.logTail())
	}
	var err error
	if s.sdkEnv, err = sdkEnv(s.cmd.Env, plainEnv...); err != nil {
		t.Fatalf("rundlet env: %v\n%s", err, s.logTail())
	}
	return s
}

// launchServer starts a daemon and does not wait for it. It dies with the test, and
// so does what it left.
func launchServer(t *testing.T, dir string, env []string, flags ...string) *server {
	t.Helper()
	if *asOrdinary && user == nil {
		beOrdinary(t)
	}
	s := &server{log: filepath.Join(dir, "server.log"), exited: make(chan struct{})}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if s.logged, err = log.Seek(0, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	flags = append(append([]string{"serve", "--listen", strings.TrimPrefix(apiURL, "http://")}, driverFlags(t, dir)...), flags...)
	if err := user.take(dir); err != nil {
		t.Fatal(err)
	}
	s.cmd = user.command(os.Getenv(binEnv), flags...)
	s.cmd.Env = append(append(user.environ(), env...),
		"RUNDLET_STATE_DIR="+filepath.Join(dir, "state"),
		"RUNDLET_CACHE_DIR="+filepath.Join(dir, "cache"))
	s.cmd.Stdout, s.cmd.Stderr = log, log
	// As below a service manager: the kernel divides processors between sessions, too,
	// and the clients of a test would take those of the daemon.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("start the server: %v", err)
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.exited)
	}()
	clearAfter(t, dir)
	t.Cleanup(func() {
		s.cmd.Process.Kill() // A no-op unless the test ended before stop.
		<-s.exited
	})
	return s
}

// waitReady asks until the server serves: a starting one is healthy already, and
// answers 503 to the rest.
func (s *server) waitReady() error { return s.waitServing(apiURL, http.DefaultTransport) }

// waitServing is waitReady of a server with another address.
func (s *server) waitServing(url string, transport http.RoundTripper) error {
	deadline := time.After(readyTimeout)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	client := &http.Client{Timeout: 5 * time.Second, Transport: transport}
	defer client.CloseIdleConnections()
	var last error
	for {
		select {
		case <-s.exited:
			return fmt.Errorf("it ended: %w", s.err)
		case <-deadline:
			return fmt.Errorf("%v passed: %w", readyTimeout, last)
		case <-tick.C:
		}
		resp, err := client.Get(url + "/v2/sandboxes")
		if err != nil {
			last = err
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusUnauthorized { // It serves, to those with a key.
			return nil
		}
		last = fmt.Errorf("/v2/sandboxes: %s", resp.Status)
	}
}

// sdkEnv evaluates the output of "rundlet env" the way a user does, and returns the variables
// that begin with one of those that are wanted.
func sdkEnv(env []string, wanted ...string) ([]string, error) {
	cmd := user.command("sh", "-c", `out=$("$`+binEnv+`" env) && eval "$out" && exec env -0`)
	cmd.Env = env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, stderr.Bytes())
	}
	var vars []string
	all := strings.Split(string(out), "\x00")
	for _, want := range wanted {
		i := slices.IndexFunc(all, func(v string) bool { return strings.HasPrefix(v, want) })
		if i < 0 {
			return nil, fmt.Errorf("no %s...: got %q", want, all)
		}
		vars = append(vars, all[i])
	}
	return vars, nil
}

// stop ends the daemon as Ctrl-C does; it must then exit, with success.
func (s *server) stop(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Errorf("interrupt the server: %v\n%s", err, s.logTail())
		return
	}
	select {
	case <-s.exited:
		if s.err != nil {
			t.Errorf("the server ended with %v\n%s", s.err, s.logTail())
		}
	case <-time.After(stopTimeout):
		t.Errorf("the server still runs %v after an interrupt\n%s", stopTimeout, s.logTail())
	}
}

// logTail is the end of the daemon's log, for a failure's message.
func (s *server) logTail() string {
	data, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	data = data[min(s.logged, int64(len(data))):]
	const most = 8 << 10
	if len(data) > most {
		data = data[len(data)-most:]
	}
	return "--- end of the server's log\n" + string(data)
}

// goroutines ends the daemon, and returns what its goroutines did whose stacks have a text.
func (s *server) goroutines(about string) string {
	if err := s.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		return err.Error()
	}
	<-s.exited
	data, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	var out strings.Builder
	for one := range strings.SplitSeq(string(data[min(s.logged, int64(len(data))):]), "\n\n") {
		if strings.HasPrefix(one, "goroutine ") && strings.Contains(one, about) {
			out.WriteString(one + "\n\n")
		}
	}
	return out.String()
}

// troubles are the warnings and errors of all daemons of the directory, and all
// that they said of some sandboxes; at most the last two hundred lines.
func (s *server) troubles(about ...string) string {
	data, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		named := slices.ContainsFunc(about, func(id string) bool { return strings.Contains(line, id) })
		if named || strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") || strings.HasPrefix(line, "panic") {
			lines = append(lines, line)
		}
	}
	return "--- what the servers complain about\n" + strings.Join(lines[max(0, len(lines)-200):], "")
}
