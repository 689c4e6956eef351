package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/envd"
)

// crowd is many clients of one node.
type crowd struct {
	api client.API
	// shared are the sandboxes that clients connect to; the others create one for each session.
	shared []client.Sandbox
	end    time.Time
	// pause is the most that a client waits between two steps, as a program does whose next step a model has to choose.
	pause time.Duration

	mu       sync.Mutex
	took     map[string][]time.Duration // by kind of step
	sessions int
	errors   []string
}

// think waits as long as a client does between two steps.
func (c *crowd) think(ctx context.Context) {
	if c.pause == 0 {
		return
	}
	select {
	case <-time.After(rand.N(c.pause)):
	case <-ctx.Done():
	}
}

const serveHome = "setsid python3 -m http.server 8000 --directory /home/user >/dev/null 2>&1 </dev/null & until (: </dev/tcp/127.0.0.1/8000) 2>/dev/null; do sleep 0.05; done"

// session is what a user of an SDK does: it returns the first error.
func (c *crowd) session(ctx context.Context, api client.API, shared *client.Sandbox, text string) (err error) {
	step := func(name string, do func(context.Context) error) {
		if err != nil && name != "kill" {
			return
		}
		c.think(ctx)
		ctx, cancel := context.WithTimeout(ctx, goodRequest)
		defer cancel()
		begin := time.Now()
		if failed := do(ctx); failed != nil && err == nil {
			err = fmt.Errorf("%s at %s after %v: %w", name, begin.Format(time.TimeOnly), ms(time.Since(begin)), failed)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.took[name] = append(c.took[name], time.Since(begin))
	}
	var sb client.Sandbox
	if shared == nil {
		step("create", func(ctx context.Context) (err error) {
			sb, err = api.Create(ctx, "base", live)
			return err
		})
		defer step("kill", func(ctx context.Context) error {
			if sb.ID == "" {
				return nil
			}
			return api.Kill(ctx, sb.ID)
		})
		step("serve", func(ctx context.Context) error { return says(ctx, api, sb, serveHome, "") })
	} else {
		step("connect", func(ctx context.Context) (err error) {
			sb, _, err = api.Connect(ctx, shared.ID, live)
			return err
		})
	}
	step("run", func(ctx context.Context) error { return says(ctx, api, sb, "echo "+text, text+"\n") })
	step("write", func(ctx context.Context) error { return upload(ctx, api, sb, "/home/user/"+text, text) })
	step("read", func(ctx context.Context) error {
		return gets(ctx, api.Agent(sb), "/files?"+url.Values{"path": {text}, "username": {"user"}}.Encode(), text)
	})
	step("port", func(ctx context.Context) error {
		port := api.Agent(sb)
		port.Header = port.Header.Clone()
		port.Header.Set(envd.SandboxPortHeader, "8000")
		return gets(ctx, port, "/"+text, text)
	})
	step("run", func(ctx context.Context) error { return says(ctx, api, sb, "cat ~/"+text+"; rm ~/"+text, text) })
	return err
}

// gets asks for a path, which must be answered with the text.
func gets(ctx context.Context, to client.Agent, path, want string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.BaseURL+path, nil)
	if err != nil {
		return err
	}
	req.Header = to.Header.Clone()
	resp, err := to.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && (resp.StatusCode != http.StatusOK || string(body) != want) {
		err = fmt.Errorf("%s: %.300q, want %q", resp.Status, body, want)
	}
	return err
}

// behave goes through sessions until the end. Every fifth client creates its sandboxes.
func (c *crowd) behave(ctx context.Context, n int) {
	transport := &http.Transport{} // Each client is a process elsewhere, with its connections.
	defer transport.CloseIdleConnections()
	api := client.API{URL: c.api.URL, Key: c.api.Key, HTTP: &http.Client{Transport: transport}}
	var shared *client.Sandbox
	if n%5 != 0 {
		shared = &c.shared[n%len(c.shared)]
	}
	for i := 0; time.Now().Before(c.end); i++ {
		err := c.session(ctx, api, shared, fmt.Sprintf("go-%d-%d", n, i))
		c.mu.Lock()
		c.sessions++
		if err != nil {
			c.errors = append(c.errors, fmt.Sprintf("client %d, session %d: %v", n, i, err))
		}
		c.mu.Unlock()
	}
}

// sdkClients are how many clients each process of an SDK has.
const sdkClients = 3

// runSDK is a process of an SDK with some of the clients.
func (c *crowd) runSDK(t *testing.T, s suite, env []string, shared client.Sandbox) {
	dir, err := filepath.Abs(s.dir())
	if err != nil {
		t.Error(err)
		return
	}
	argv := []string{"node", "js/sessions.mjs"}
	if s.kind == "pypi" {
		argv = []string{filepath.Join(dir, ".venv/bin/python"), "python/sessions.py"}
	}
	ctx, cancel := context.WithDeadline(t.Context(), c.end.Add(10*(c.pause+goodRequest))) // Of the steps of a session.
	defer cancel()
	argv = append(argv, fmt.Sprint(int(time.Until(c.end).Seconds())), strconv.Itoa(sdkClients), shared.ID, fmt.Sprint(c.pause.Seconds()))
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(slices.Concat(os.Environ(), env), "E2E_SDK_DIR="+dir, "PYTHONDONTWRITEBYTECODE=1")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var result struct {
		Sessions int
		Errors   []string
	}
	if err = cmd.Run(); err == nil {
		err = json.Unmarshal(stdout.Bytes(), &result)
	}
	if err == nil && result.Sessions == 0 {
		result.Errors = append(result.Errors, "no session")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.errors = append(c.errors, fmt.Sprintf("%s: %v\n%s%s", s.name(), err, &stdout, &stderr))
	}
	for _, e := range result.Errors {
		c.errors = append(c.errors, s.name()+": "+e)
	}
	c.sessions += result.Sessions
}

// memoryOf samples the daemon's memory until the function it returns is called, which returns the samples in KiB.
func memoryOf(srv *server, every time.Duration) (stop func() []int) {
	done, all := make(chan struct{}), make(chan []int)
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		var samples []int
		for {
			select {
			case <-done:
				all <- samples
				return
			case <-tick.C:
				if n, err := srv.anonymous(); err == nil { // Else it has ended, which the clients report.
					samples = append(samples, int(n>>10))
				}
			}
		}
	}()
	return func() []int {
		close(done)
		return <-all
	}
}

// crowdSDKs are the SDKs that have processes among the clients of crowdTest.
var crowdSDKs = []suite{{"npm", "2.51.0"}, {"npm", "2.51.0"}, {"pypi", "2.63.0"}, {"pypi", "2.63.0"}}

const crowdTest = "TestManyClients"

// TestManyClients lets many clients use a node at the same time as users of the SDKs do. None gets an error. In the long form, they are 500 for ten
// minutes, some of them in processes of the SDKs, each of which waits ten seconds on average before a step, and the daemon's memory does not grow: the median of its last minute is not above that of its second
// by more than a quarter. In the first, all clients begin.
func TestManyClients(t *testing.T) {
	clients, sandboxes, long, pause := 20, 2, 5*time.Second, time.Duration(0)
	if *soak {
		clients, sandboxes, long, pause = 500-len(crowdSDKs)*sdkClients, 50, 10*time.Minute, 20*time.Second
	}
	if *duration > 0 {
		long = *duration
	}
	srv, api, dir := newServer(t)
	census := takeCensus(t, dir)
	c := &crowd{api: api, pause: pause, shared: make([]client.Sandbox, sandboxes), took: map[string][]time.Duration{}}
	if failed, err := forAll(sandboxes, 4, func(i int) (err error) {
		if c.shared[i], err = api.Create(t.Context(), "base", live); err == nil {
			_, err = run(t.Context(), api, c.shared[i], serveHome)
		}
		return err
	}); failed > 0 {
		t.Fatal(err)
	}
	before := takeDaemon(t, srv)
	cpu, begin := processorTime(t), time.Now()
	c.end = begin.Add(long)
	stop := memoryOf(srv, max(long/600, 100*time.Millisecond))
	var all sync.WaitGroup
	for n := range clients {
		all.Go(func() { c.behave(t.Context(), n) })
	}
	if *soak {
		for i, s := range crowdSDKs {
			all.Go(func() { c.runSDK(t, s, srv.sdkEnv, c.shared[i]) })
		}
	}
	all.Wait()
	memory := stop()
	cpu, wall := processorTime(t)-cpu, time.Since(begin)

	for i, e := range c.errors { // In the order of their times.
		if i < 20 || i >= len(c.errors)-5 {
			t.Error(e)
		}
	}
	if len(c.errors) > 0 {
		t.Errorf("%d errors in %d sessions\n%s", len(c.errors), c.sessions, srv.troubles())
	}
	part := len(memory) / 10
	if part == 0 {
		t.Fatalf("%d samples of the memory", len(memory))
	}
	second, last := middle(memory[part:2*part]), middle(memory[len(memory)-part:])
	if *soak && last > second+second/4 {
		t.Errorf("the daemon's memory grew from %d to %d KiB", second, last)
	}
	figures := map[string]any{"clients": clients, "sandboxes_shared": sandboxes, "seconds": wall.Seconds(), "pause_seconds_most": pause.Seconds(), "sessions": c.sessions, "errors": len(c.errors),
		"daemon_kib_second_tenth": second, "daemon_kib_last_tenth": last, "daemon_kib_most": slices.Max(memory),
		"processors": cpu.Seconds() / wall.Seconds(), "load": load()}
	for name, d := range c.took {
		figures[name] = fmt.Sprintf("p50 %v, p99 %v, most %v (%d)", ms(at(d, 50)), ms(at(d, 99)), ms(slices.Max(d)), len(d))
	}
	record(t, "many clients", figures)
	killAll(t, api, c.shared)
	if list, err := api.List(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("%d sandboxes are left, %v", len(list), err)
	}
	census.await(t, dir)
	if *soak { // Files of processes that have ended are closed by the collection of garbage, and a test of seconds does not wait for it.
		before.await(t, srv)
	}
	srv.stop(t)
}

func middle(n []int) int { return slices.Sorted(slices.Values(n))[len(n)/2] }
