package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/sandbox"
)

var withHeaders = sandbox.Egress{Headers: map[string]map[string]string{"a.example": {"X-Key": "secret"}}}

// asking is a request with rules.
func asking(rules sandbox.Egress) sandbox.CreateRequest {
	r := request()
	r.Egress = rules
	return r
}

// trusts wants a guest to trust an authority; "" is none.
func (f *fixture) trusts(when, id, want string) {
	f.t.Helper()
	if got := f.inside(id).Get("trusts"); got != want {
		f.t.Errorf("%s it trusts %q, want %q", when, got, want)
	}
}

// trust answers as the agent in a guest does. One of an earlier release has no such path.
func (f *fixture) trust(conn net.Conn, id string, req *http.Request) {
	var in envd.TrustRequest
	memory := f.guest(id)
	if memory == nil {
		return // It was ended meanwhile.
	}
	status, says := "204 No Content", ""
	decodeErr, token := json.NewDecoder(req.Body).Decode(&in), memory.Get("control token")
	switch {
	case f.failing("old agent") != nil:
		status = "404 Not Found"
	case token == "":
		status = "409 Conflict"
	case req.Header.Get(envd.ControlTokenHeader) != token, f.failing("another token") != nil:
		status = "401 Unauthorized"
	case decodeErr != nil || in.CABundle == "":
		status = "400 Bad Request"
	case f.step("trust") != nil:
		status, says = "507 Insufficient Storage", `{"code":507,"message":"trust certificates: no space left on device"}`
	default:
		memory.Set("trusts", in.CABundle)
	}
	fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s", status, len(says), says)
}

func TestAGuestTrustsWhatSetsItsHeaders(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	without := f.create(hours)
	f.trusts("without headers", without.ID, "")
	sb := f.create(hours, func(r *sandbox.CreateRequest) { r.Egress = withHeaders })
	f.trusts("created,", sb.ID, f.cfg.Authority)
	f.reaches("created,", sb.ID, nil, withHeaders)
	f.pause(sb.ID)
	f.cfg.Authority = "another"
	f.restart()
	f.resume(sb.ID)
	f.trusts("resumed,", sb.ID, "another")
	f.reaches("resumed,", sb.ID, nil, withHeaders)
	f.cfg.Authority = "a third"
	f.restart()
	f.trusts("after a restart,", sb.ID, "a third")
	children, err := f.rt.Fork(ctx, sb.ID, sandbox.ForkRequest{Count: 1, Timeout: time.Hour})
	if err != nil || children[0].Err != nil {
		t.Fatal(err, children)
	}
	f.trusts("forked,", children[0].Sandbox.ID, "a third")
	if err := f.rt.SetEgress(ctx, without.ID, nil, withHeaders); err != nil {
		t.Fatal(err)
	}
	f.trusts("changed,", without.ID, "a third")
	f.reaches("changed,", without.ID, nil, withHeaders)
}

func TestHeadersNeedAGuestThatTrusts(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	sb := f.create(hours)
	f.failNext("trust", 1)
	if err := f.rt.SetEgress(ctx, sb.ID, nil, withHeaders); !errors.Is(err, sandbox.ErrUnavailable) || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("a full disk: %v", err)
	}
	f.reaches("with a full disk", sb.ID, nil, sandbox.Egress{})
	f.failNext("old agent", 1)
	if err := f.rt.SetEgress(ctx, sb.ID, nil, withHeaders); !errors.Is(err, sandbox.ErrUnsupported) || !strings.Contains(err.Error(), "earlier release") {
		t.Errorf("an agent of an earlier release: %v", err)
	}
	f.reaches("with an old agent", sb.ID, nil, sandbox.Egress{})
	if err := f.rt.SetEgress(ctx, sb.ID, nil, oneOnly); err != nil {
		t.Errorf("rules without headers: %v", err)
	}
	f.failNext("trust", 1)
	if _, err := f.rt.Create(ctx, asking(withHeaders)); err == nil {
		t.Error("a sandbox that does not trust what sets its headers")
	}
	f.cfg.Authority = ""
	f.restart()
	if _, err := f.rt.Create(ctx, asking(withHeaders)); !errors.Is(err, sandbox.ErrUnsupported) {
		t.Errorf("a node without an authority: %v", err)
	}
	if err := f.rt.SetEgress(ctx, sb.ID, nil, withHeaders); !errors.Is(err, sandbox.ErrUnsupported) {
		t.Errorf("a change at a node without an authority: %v", err)
	}
}

// A new sandbox that does not trust would only fail later. A paused one has what its user saved.
func TestASandboxThatCannotTrustIsResumedAndNotCreated(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	sb := f.create(hours, func(r *sandbox.CreateRequest) { r.Egress = withHeaders })
	for _, step := range []string{"trust", "old agent"} {
		for _, memory := range []bool{true, false} {
			if err := f.rt.Pause(ctx, sb.ID, memory); err != nil {
				t.Fatal(err)
			}
			f.failNext(step, 1)
			f.resume(sb.ID)
			f.reaches("resumed,", sb.ID, nil, withHeaders)
		}
		f.failNext(step, 1)
		children, err := f.rt.Fork(ctx, sb.ID, sandbox.ForkRequest{Count: 1, Timeout: time.Hour})
		if err != nil || children[0].Err == nil {
			t.Errorf("fork, %s: %v, %v", step, err, children)
		}
		f.failNext(step, 1)
		if _, err := f.rt.Create(ctx, asking(withHeaders)); err == nil {
			t.Errorf("created, %s", step)
		}
	}
	if n := f.network.count(); n != 1 {
		t.Errorf("%d slots, want that of the sandbox", n)
	}
}

// One that does not answer its host cannot be resumed, and what was saved stays.
func TestASandboxWithoutAnAnswerIsNotResumed(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	sb := f.create(hours, func(r *sandbox.CreateRequest) { r.Egress = withHeaders })
	f.pause(sb.ID)
	f.failNext("another token", 1)
	if _, _, err := f.rt.Connect(ctx, sb.ID, time.Hour); err == nil || f.row(sb.ID).State != sandbox.StatePaused || f.network.count() != 0 {
		t.Errorf("%v, %s, %d slots", err, f.row(sb.ID).State, f.network.count())
	}
	f.resume(sb.ID)
	f.trusts("resumed,", sb.ID, f.cfg.Authority)
}

// Rules that a guest does not answer for are not in force, whether the client gives up or the sandbox is killed.
func TestAChangeOfHeadersIsBrokenOff(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	sb := f.create(hours)
	f.mute(sb.ID)
	once, giveUp := context.WithCancel(ctx)
	f.lookDuring("muted", giveUp)
	if err := f.rt.SetEgress(once, sb.ID, nil, withHeaders); !errors.Is(err, sandbox.ErrNoAnswer) {
		t.Errorf("an agent without an answer: %v", err)
	}
	f.reaches("without an answer", sb.ID, nil, sandbox.Egress{})
	asked, changed := make(chan struct{}), make(chan error, 1)
	f.lookDuring("muted", sync.OnceFunc(func() { close(asked) }))
	f.forgetHistory()
	go func() { changed <- f.rt.SetEgress(ctx, sb.ID, nil, withHeaders) }()
	<-asked
	if err := f.rt.Kill(ctx, sb.ID); err != nil {
		t.Error(err)
	}
	if err := <-changed; !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("the change: %v", err)
	}
	if h := f.history(); slices.Contains(h, "set egress") || f.network.count() != 0 {
		t.Errorf("did %v, and %d slots are left", h, f.network.count())
	}
}

func TestAWarmSandboxTrustsWhatSetsItsHeaders(t *testing.T) {
	for _, target := range []pool.Target{{Ready: 1}, {Prepared: 1}} {
		warmed(t, target, func(t *testing.T, f *fixture) {
			f.t = t
			sb := f.create(hours, func(r *sandbox.CreateRequest) { r.Egress = withHeaders })
			f.trusts("warm,", sb.ID, f.cfg.Authority)
			if got := f.network.egress(f.row(sb.ID).SlotID); !got.Equal(egress.Of(nil, withHeaders)) {
				t.Errorf("it reaches %v", got)
			}
		})
	}
}

func TestNoSecretOutlivesASandbox(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	sb := f.create(hours, func(r *sandbox.CreateRequest) { r.Egress = withHeaders })
	if err := f.rt.Kill(ctx, sb.ID); err != nil {
		t.Fatal(err)
	}
	if row := f.row(sb.ID); row.State != sandbox.StateKilled || row.Egress.Headers["a.example"]["X-Key"] != "" || strings.Contains(row.Request, "secret") || !strings.Contains(row.Request, "X-Key") {
		t.Errorf("%v, %s", row.Egress, row.Request)
	}
}
