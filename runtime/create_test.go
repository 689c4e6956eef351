package runtime

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/sandbox"
)

func TestCreateReservesThenConnectsThenRestoresThenDeliversThenExposes(t *testing.T) {
	f := newFixture(t)
	f.create()
	f.forgetHistory()
	sb := f.create(func(r *sandbox.CreateRequest) { r.Env = map[string]string{"K": "V"} })

	if want := []string{"acquire", "create", "init"}; !slices.Equal(f.history(), want) {
		t.Errorf("order %v, want %v", f.history(), want)
	}
	if !regexp.MustCompile(`^i[a-z0-9]{20}$`).MatchString(sb.ID) {
		t.Errorf("id %q", sb.ID)
	}
	if sb.State != sandbox.StateRunning || !sb.EndAt.Equal(sb.StartedAt.Add(time.Minute)) || sb.Metadata["who"] != "me" {
		t.Errorf("sandbox %+v", sb)
	}
	if row := f.row(sb.ID); row.State != "running" || row.SlotID == "" {
		t.Errorf("row %+v", row)
	}
	if got := f.rt.admission.Ledger.Active().Sandboxes; got != 2 {
		t.Errorf("%d reserved", got)
	}
	in := f.initOf(sb.ID)
	if in.SandboxID != sb.ID || in.Env["K"] != "V" || in.AccessToken != sb.EnvdAccessToken || in.Hostname != sb.ID {
		t.Errorf("delivered %+v", in)
	}
	if len(in.ControlToken) != 64 || in.ControlToken == in.AccessToken || len(in.RandomSeed) != 64 || in.Timestamp.IsZero() {
		t.Errorf("delivered secrets %+v", in)
	}
}

// Whatever a crash leaves of a create, its row is there to account for it.
func TestTheIntentToCreateIsWrittenFirst(t *testing.T) {
	f := newFixture(t)
	if err := f.rt.Prepare(context.Background()); err != nil {
		t.Fatal(err)
	}
	f.forgetHistory()
	for _, step := range []string{"acquire", "create", "init"} {
		f.lookDuring(step, func() {
			rows, err := f.db.Sandboxes.Live(context.Background(), "test")
			if err != nil || len(rows) != 1 || rows[0].State != "creating" {
				t.Errorf("%s: rows %+v, %v", step, rows, err)
			}
		})
	}
	f.create()
	if want := []string{"acquire", "create", "init"}; !slices.Equal(f.history(), want) {
		t.Errorf("looked during %v", f.history())
	}
}

func TestEachSandboxHasSecretsOfItsOwnThatSurviveARestart(t *testing.T) {
	f := newFixture(t)
	a, b := f.create(), f.create()
	if a.EnvdAccessToken == b.EnvdAccessToken || f.initOf(a.ID).ControlToken == f.initOf(b.ID).ControlToken ||
		string(f.initOf(a.ID).RandomSeed) == string(f.initOf(b.ID).RandomSeed) {
		t.Error("two sandboxes share a secret")
	}
	f.restart()
	again, err := f.rt.Get(context.Background(), a.ID)
	if err != nil || again.EnvdAccessToken != a.EnvdAccessToken {
		t.Errorf("after a restart: %+v, %v", again, err)
	}
}

func TestTokensAreGivenOnlyWhereAsked(t *testing.T) {
	f := newFixture(t)
	no := false
	open := f.create(func(r *sandbox.CreateRequest) { r.Secure = false })
	private := f.create(func(r *sandbox.CreateRequest) { r.AllowPublicTraffic = &no })
	if open.EnvdAccessToken != "" || open.TrafficAccessToken != "" || f.initOf(open.ID).AccessToken != "" {
		t.Errorf("open sandbox %+v", open)
	}
	if private.TrafficAccessToken == "" || private.TrafficAccessToken == private.EnvdAccessToken {
		t.Errorf("private sandbox %+v", private)
	}
}

func TestInternetAccessIsDecidedBeforeTheMachineIsMade(t *testing.T) {
	f := newFixture(t)
	no := false
	sb := f.create(func(r *sandbox.CreateRequest) { r.AllowInternet = &no })
	if allowed := f.network.internet(f.row(sb.ID).SlotID); allowed {
		t.Error("the slot has internet access")
	}
	sb = f.create()
	if allowed := f.network.internet(f.row(sb.ID).SlotID); !allowed {
		t.Error("by default the slot should have internet access")
	}
}

func TestAFailedCreateLeavesNothing(t *testing.T) {
	for _, step := range []string{"acquire", "create", "init"} {
		t.Run(step, func(t *testing.T) {
			f := newFixture(t)
			if err := f.rt.Prepare(context.Background()); err != nil {
				t.Fatal(err)
			}
			f.failNext(step, 1)
			if _, err := f.rt.Create(context.Background(), request()); err == nil {
				t.Fatal("no error")
			}
			f.wantNothingLeft()
			rows, err := f.rt.Killed(context.Background(), 10)
			if err != nil || len(rows) != 1 || rows[0].Reason != "create failed" {
				t.Errorf("remembered %+v, %v", rows, err)
			}
			for _, s := range f.rt.Latency().Summaries() {
				if s.Name == latency.KillDelete || s.Name == latency.ReadyProbe {
					t.Errorf("a sample of %s for a create that failed", s.Name)
				}
			}
			f.create() // the next one works
		})
	}
}

// variables makes an environment of n values of that size.
func variables(n, size int) map[string]string {
	env := map[string]string{}
	for i := range n {
		env[strconv.Itoa(i)] = strings.Repeat("<", size)
	}
	return env
}

// The bound of an environment is that of the body that it comes in.
func TestAnEnvironmentMayFillARequest(t *testing.T) {
	f := newFixture(t)
	req := request()
	req.Env = variables(7, sandbox.MaxVariable-3) // The name is a digit.
	if _, err := f.rt.Create(context.Background(), req); err != nil {
		t.Errorf("%d variables: %v", len(req.Env), err)
	}
}

func TestARefusedRequestHasNoEffect(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	for _, tc := range []struct {
		name   string
		change func(*sandbox.CreateRequest)
		want   error
	}{
		{"unknown template", func(r *sandbox.CreateRequest) { r.Template = "nope" }, sandbox.ErrTemplateNotFound},
		{"unknown tag", func(r *sandbox.CreateRequest) { r.Template = "base:v9" }, sandbox.ErrTemplateNotFound},
		{"a path for a template", func(r *sandbox.CreateRequest) { r.Template = "../../etc" }, sandbox.ErrTemplateNotFound},
		{"no timeout", func(r *sandbox.CreateRequest) { r.Timeout = 0 }, sandbox.ErrInvalid},
		{"negative timeout", func(r *sandbox.CreateRequest) { r.Timeout = -time.Second }, sandbox.ErrInvalid},
		{"timeout beyond the limit", func(r *sandbox.CreateRequest) { r.Timeout = 25 * time.Hour }, sandbox.ErrInvalid},
		{"huge metadata", func(r *sandbox.CreateRequest) { r.Metadata = map[string]string{"k": big} }, sandbox.ErrInvalid},
		{"huge environment", func(r *sandbox.CreateRequest) { r.Env = variables(9, sandbox.MaxVariable-10) }, sandbox.ErrInvalid},
		{"huge environment variable", func(r *sandbox.CreateRequest) { r.Env = map[string]string{"k": big[:sandbox.MaxVariable-2]} }, sandbox.ErrInvalid},
		{"environment name with =", func(r *sandbox.CreateRequest) { r.Env = map[string]string{"a=b": "c"} }, sandbox.ErrInvalid},
		{"environment value with NUL", func(r *sandbox.CreateRequest) { r.Env = map[string]string{"a": "\x00"} }, sandbox.ErrInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t)
			req := request()
			tc.change(&req)
			if _, err := f.rt.Create(context.Background(), req); !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
			if h := f.history(); len(h) != 0 {
				t.Errorf("it did %v", h)
			}
			if rows, _ := f.rt.Killed(context.Background(), 10); len(rows) != 0 {
				t.Errorf("it wrote %+v", rows)
			}
		})
	}
}

func TestCapacityIsReservedBeforeAnythingIsMade(t *testing.T) {
	f := newFixture(t)
	f.cfg.MaxPending = -1 // no waiters
	f.restart()
	for range 10 {
		f.create()
	}
	f.forgetHistory()
	_, err := f.rt.Create(context.Background(), request())
	var full *sandbox.CapacityError
	if !errors.As(err, &full) || full.Resource != "queue" || full.RetryAfter == 0 {
		t.Fatalf("got %v", err)
	}
	if h := f.history(); len(h) != 0 {
		t.Errorf("it did %v", h)
	}
}

func TestACancelledCreateLeavesNothing(t *testing.T) {
	f := newFixture(t)
	if err := f.rt.Prepare(context.Background()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.rt.Create(ctx, request()); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	f.wantNothingLeft()
}

func TestManyAtOnceAllSucceedAndAllGo(t *testing.T) {
	f := newFixture(t)
	var wg sync.WaitGroup
	ids := make([]string, 10)
	for i := range ids {
		wg.Go(func() {
			sb, err := f.rt.Create(context.Background(), request())
			if err != nil {
				t.Error(err)
			}
			ids[i] = sb.ID
		})
	}
	wg.Wait()
	if n := strings.Count(strings.Join(f.history(), " "), "snapshot"); n != 1 {
		t.Errorf("the base was saved %d times", n)
	}
	for _, id := range ids {
		wg.Go(func() {
			if err := f.rt.Kill(context.Background(), id); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f.wantNothingLeft()
}
