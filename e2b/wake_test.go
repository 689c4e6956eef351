package e2b

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/envd/signature"
	"github.com/rundlet/rundlet/sandbox"
)

// sleeper is a sandbox that is paused until there is traffic.
func (n *node) sleeper() string {
	n.t.Helper()
	r := n.do("POST", "/v2/sandboxes", `{"templateID":"base","autoPause":true,"autoResume":{"enabled":true}}`)
	id := r.fields(n.t)["sandboxID"].(string)
	n.Listen(id, envd.Port, agentHandler(id))
	n.Listen(id, 80, agentHandler(id))
	if r := n.do("POST", "/sandboxes/"+id+"/pause", ""); r.code != 204 {
		n.t.Fatalf("pause: %d %s", r.code, r.body)
	}
	return id
}

// withToken routes a request to the agent, with its token.
func withToken(id string) []string { return append(toAgent(id), "X-Access-Token", "token-"+id) }

func toPort(id, port string) []string {
	return []string{envd.SandboxIDHeader, id, envd.SandboxPortHeader, port}
}

func TestTrafficResumes(t *testing.T) {
	tests := []struct {
		name, method, path string
		header             func(id string) []string
		code               int
	}{
		{"health", "GET", "/health", withToken, 204},
		{"the agent", "POST", "/x", withToken, 200},
		{"a port", "GET", "/health", func(id string) []string { return toPort(id, "80") }, 204},
		{"a port that is closed", "GET", "/", func(id string) []string { return toPort(id, "81") }, 502},
		{"by host", "GET", "/health", func(id string) []string { return []string{"Host", "80-" + id + ".sb.test"} }, 204},
		{"a preflight", "OPTIONS", "/x", func(id string) []string { return append(toAgent(id), "Access-Control-Request-Method", "POST") }, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, Config{})
			id := n.sleeper()
			if r := n.plain(tt.method, tt.path, tt.header(id)...); r.code != tt.code {
				t.Errorf("%d %s", r.code, r.body)
			}
			if n.Transitions.Resumes() != 1 || n.state(id) != "running" {
				t.Errorf("%d resumes, then %s", n.Transitions.Resumes(), n.state(id))
			}
		})
	}
}

func TestTrafficDoesNotResume(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sleeper()
	tests := []struct {
		name, path string
		header     []string
		change     func(*sandbox.Sandbox)
		code       int
		message    string
	}{
		{"auto-resume is off", "/health", withToken(id), func(sb *sandbox.Sandbox) { sb.AutoResume = false }, 502, "The sandbox was not found"},
		{"auto-resume is off, a port", "/", toPort(id, "80"), func(sb *sandbox.Sandbox) { sb.AutoResume = false }, 502, "The sandbox was not found"},
		{"there is no memory", "/health", withToken(id), func(sb *sandbox.Sandbox) { sb.FilesystemOnly = true }, 502, "The sandbox was not found"},
		{"being killed", "/health", withToken(id), func(sb *sandbox.Sandbox) { sb.State = sandbox.StateKilling }, 502, "The sandbox was not found"},
		{"being created", "/health", withToken(id), func(sb *sandbox.Sandbox) { sb.State = sandbox.StateCreating }, 502, "The sandbox was not found"},
		{"no token", "/health", toAgent(id), nil, 403, "x-access-token"},
		{"wrong token", "/health", append(toAgent(id), "X-Access-Token", "token-"), nil, 403, "x-access-token"},
		{"no signature", "/files?path=a", toAgent(id), nil, 403, "x-access-token"},
		{"wrong signature", "/files?path=a&signature=v1_x", toAgent(id), nil, 403, "x-access-token"},
		{"no traffic token", "/", toPort(id, "80"), func(sb *sandbox.Sandbox) { sb.TrafficAccessToken = "t" }, 403, "e2b-traffic-access-token"},
		{"an internal route", "/init", withToken(id), nil, 404, "reserved for the E2B control plane"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n.t = t
			before, _ := n.Get(t.Context(), id)
			if tt.change != nil {
				n.Edit(id, tt.change)
			}
			r := n.plain("GET", tt.path, tt.header...)
			if r.code != tt.code || !strings.Contains(r.body, tt.message) || n.Transitions.Resumes() != 0 {
				t.Errorf("%d %s, %d resumes", r.code, r.body, n.Transitions.Resumes())
			}
			n.Edit(id, func(sb *sandbox.Sandbox) { *sb = before })
		})
	}
	n.t = t
	// A preflight of a sandbox whose ports are guarded.
	n.Edit(id, func(sb *sandbox.Sandbox) { sb.TrafficAccessToken = "t" })
	if r := n.plain("OPTIONS", "/x", append(toAgent(id), "Access-Control-Request-Method", "POST")...); r.code != 403 || n.Transitions.Resumes() != 0 {
		t.Errorf("preflight: %d %s", r.code, r.body)
	}
}

func TestSignedFileOfAPausedSandbox(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sleeper()
	file := signedFile(signature.Request{Path: "a"}, "token-"+id)
	if r := n.plain("GET", file); r.code != 200 || n.Transitions.Resumes() != 1 {
		t.Errorf("%d %s, %d resumes", r.code, r.body, n.Transitions.Resumes())
	}
	n.do("POST", "/sandboxes/"+id+"/pause", "")
	n.Edit(id, func(sb *sandbox.Sandbox) { sb.AutoResume = false })
	if r := n.plain("GET", file); r.code != 502 || !strings.Contains(r.body, "was not found") {
		t.Errorf("without auto-resume: %d %s", r.code, r.body)
	}
}

// A link that was signed for an hour does not resume a sandbox for ever.
func TestAnExpiredSignedURLWakesNothing(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sleeper()
	signed := func(end int64) string {
		return signedFile(signature.Request{Path: "a", Expiration: strconv.FormatInt(end, 10)}, "token-"+id)
	}
	past, future := signed(time.Now().Unix()-1), signed(time.Now().Unix()+1000)
	for name, header := range map[string][]string{"by name": toAgent(id), "without a name": nil} {
		if r := n.plain("GET", past, header...); r.code != 401 || !strings.Contains(r.body, "signature is already expired") || n.Transitions.Resumes() != 0 {
			t.Errorf("%s: %d %s, %d resumes", name, r.code, r.body, n.Transitions.Resumes())
		}
	}
	if r := n.plain("GET", past, withToken(id)...); r.code != 200 || n.Transitions.Resumes() != 1 {
		t.Errorf("with the token: %d %s, %d resumes", r.code, r.body, n.Transitions.Resumes())
	}
	n.do("POST", "/sandboxes/"+id+"/pause", "")
	if r := n.plain("GET", future, toAgent(id)...); r.code != 200 || n.Transitions.Resumes() != 2 {
		t.Errorf("not expired: %d %s, %d resumes", r.code, r.body, n.Transitions.Resumes())
	}
}

// TestRequestsShareOneResume: and go to the run that it began, over new
// connections.
func TestRequestsShareOneResume(t *testing.T) {
	eachProtocol(t, func(t *testing.T, n *node) {
		id := n.sleeper()
		release := n.Transitions.Hold()
		defer release()
		const requests = 20
		codes := make(chan int, requests)
		for i := range requests {
			to := withToken(id)
			if i%2 == 1 {
				to = toPort(id, "80")
			}
			go func() { codes <- n.plain("GET", "/health", to...).code }()
		}
		n.Transitions.AwaitWaiting(requests)
		if got := n.state(id); got != "paused" || n.Dials() != 0 {
			t.Errorf("%s and %d dials before the resume is done", got, n.Dials())
		}
		release()
		within(t, time.Minute, "the answers", func() {
			for range requests {
				if code := <-codes; code != 204 {
					t.Errorf("answered %d", code)
				}
			}
		})
		if n.Transitions.Resumes() != 1 {
			t.Errorf("%d resumes", n.Transitions.Resumes())
		}
	})
}

func TestWaitForAResumeEndsWithTheRequest(t *testing.T) {
	eachProtocol(t, func(t *testing.T, n *node) {
		id := n.sleeper()
		release := n.Transitions.Hold()
		defer release()
		patient := make(chan int, 1)
		go func() { patient <- n.plain("GET", "/health", withToken(id)...).code }()
		ctx, cancel := context.WithCancel(t.Context())
		impatient := make(chan error, 1)
		go func() {
			req, _ := http.NewRequestWithContext(ctx, "GET", n.url+"/health", nil)
			req.Header.Set("X-Access-Token", "token-"+id)
			req.Header.Set(envd.SandboxIDHeader, id)
			req.Header.Set(envd.SandboxPortHeader, "49983")
			_, err := n.client.Do(req)
			impatient <- err
		}()
		n.Transitions.AwaitWaiting(2)
		cancel()
		if err := <-impatient; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		within(t, time.Minute, "the end of one wait", func() { n.Transitions.AwaitWaiting(1) })
		release()
		if code := <-patient; code != 204 {
			t.Errorf("the other request was answered %d", code)
		}
	})
}

func TestResumeThatFails(t *testing.T) {
	tests := []struct {
		name       string
		err        error
		code       int
		message    string
		retryAfter string
	}{
		{"memory, for now", &sandbox.CapacityError{Resource: "memory", RetryAfter: 1500 * time.Millisecond}, 503, "could not be resumed: not enough memory", "2"},
		{"pressure", &sandbox.CapacityError{Resource: "pressure"}, 503, "could not be resumed", "1"},
		{"memory, for good", &sandbox.CapacityError{Resource: "memory"}, 503, "could not be resumed: not enough memory", ""},
		{"disk full", sandbox.ErrDiskFull, 503, "disk of this machine is full", ""},
		{"a broken snapshot", errors.New("open /secret: bad digest"), 503, "The sandbox is paused and could not be resumed\"", ""},
		{"killed meanwhile", sandbox.ErrNotFound, 502, "The sandbox was not found", ""},
		{"not to be resumed any more", sandbox.ErrNotRunning, 502, "The sandbox was not found", ""},
		{"its last resume failed", &sandbox.RetryError{After: 2500 * time.Millisecond, Detail: "its last resume failed"}, 503, "not available now: its last resume failed", "3"},
		{"shutting down", sandbox.ErrUnavailable, 503, "shutting down", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, Config{})
			id := n.sleeper()
			n.Transitions.FailResumes(tt.err)
			r := n.plain("GET", "/health", withToken(id)...)
			if r.code != tt.code || !strings.Contains(r.body, tt.message) || strings.Contains(r.body, "secret") {
				t.Errorf("%d %s", r.code, r.body)
			}
			if got := r.header.Get("Retry-After"); got != tt.retryAfter {
				t.Errorf("Retry-After %q, want %q", got, tt.retryAfter)
			}
			// Nothing is remembered of a failure.
			n.Transitions.FailResumes(nil)
			if r := n.plain("GET", "/health", withToken(id)...); r.code != 204 || n.Transitions.Resumes() != 2 {
				t.Errorf("then: %d %s, %d resumes", r.code, r.body, n.Transitions.Resumes())
			}
		})
	}
}

// TestTrafficDuringAPause waits for its end and resumes.
func TestTrafficDuringAPause(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sleeper()
	n.do("POST", "/v2/sandboxes/"+id+"/connect", "")
	release := n.Transitions.Hold()
	defer release()
	codes := make(chan int, 2)
	go func() { codes <- n.do("POST", "/sandboxes/"+id+"/pause", "").code }()
	n.Transitions.AwaitWaiting(1)
	answered := make(chan int, 1)
	go func() { answered <- n.plain("GET", "/health", withToken(id)...).code }()
	n.Transitions.AwaitWaiting(2)
	release()
	within(t, time.Minute, "the answers", func() {
		if pause, health := <-codes, <-answered; pause != 204 || health != 204 {
			t.Errorf("pause %d, health %d", pause, health)
		}
	})
	if n.Transitions.Resumes() != 2 {
		t.Errorf("%d resumes", n.Transitions.Resumes())
	}
}

// TestHealthDuringAPause: a client whose stream broke off asks whether the sandbox
// still runs, and must not be reported as unknown.
func TestHealthDuringAPause(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	release := n.Transitions.Hold()
	defer release()
	pause := make(chan int, 1)
	go func() { pause <- n.do("POST", "/sandboxes/"+id+"/pause", "").code }()
	n.Transitions.AwaitWaiting(1)
	health := make(chan reply, 1)
	go func() { health <- n.plain("GET", "/health", toAgent(id)...) }()
	n.Transitions.AwaitWaiting(2)
	release()
	if r := <-health; r.code != 502 || !strings.Contains(r.body, "was not found") || n.Transitions.Resumes() != 0 {
		t.Errorf("health: %d %s, %d resumes", r.code, r.body, n.Transitions.Resumes())
	}
	if code := <-pause; code != 204 {
		t.Errorf("pause: %d", code)
	}
}

// TestRequestThatMeetsAPause was let through while the sandbox still ran, and
// found it paused: it is sent to the next run, whole.
func TestRequestThatMeetsAPause(t *testing.T) {
	eachProtocol(t, func(t *testing.T, n *node) {
		id := n.sleeper()
		n.do("POST", "/v2/sandboxes/"+id+"/connect", "")
		// It answers when it has all: HTTP/1 is not for both at a time.
		n.Listen(id, 80, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			_, _ = w.Write(b)
		}))
		var once sync.Once
		n.BeforeDial = func(id string) {
			once.Do(func() {
				if err := n.Pause(context.Background(), id, true); err != nil {
					t.Error(err)
				}
			})
		}
		for _, size := range []int{1 << 10, 1 << 20} {
			once = sync.Once{}
			body := make([]byte, size)
			_, _ = rand.Read(body)
			req, _ := http.NewRequestWithContext(t.Context(), "POST", n.url+"/", bytes.NewReader(body))
			if r := n.send(req, toPort(id, "80")...); r.code != 200 || r.body != string(body) {
				t.Errorf("%d, %d bytes of %d", r.code, len(r.body), size)
			}
		}
		if n.Transitions.Resumes() != 3 {
			t.Errorf("%d resumes", n.Transitions.Resumes())
		}
		// A sandbox that is paused again and again is not raced against for ever.
		n.BeforeDial = func(id string) { _ = n.Pause(context.Background(), id, true) }
		req, _ := http.NewRequestWithContext(t.Context(), "POST", n.url+"/", io.NopCloser(strings.NewReader("x")))
		if r := n.send(req, toPort(id, "80")...); r.code != 502 {
			t.Errorf("%d %s", r.code, r.body)
		}
		n.BeforeDial = nil
	})
}
