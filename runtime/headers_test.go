package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
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

// answerTrust answers as an agent does; "" if the guest is gone.
func (f *fixture) answerTrust(id string, req *http.Request) string {
	memory := f.guest(id)
	if memory == nil {
		return ""
	}
	failed := f.step("trust") != nil
	var in envd.TrustRequest
	err := json.NewDecoder(req.Body).Decode(&in)
	switch token := memory.Get("control token"); {
	case token == "" || req.Header.Get(envd.ControlTokenHeader) != token:
		return "401 Unauthorized"
	case f.oldAgents:
		return "404 Not Found"
	case err != nil || failed:
		return "507 Insufficient Storage"
	}
	memory.Set("trusts", in.CABundle)
	return "204 No Content"
}

// trusts wants a guest to trust an authority; "" is none.
func (f *fixture) trusts(when, id, want string) {
	f.t.Helper()
	if got := f.inside(id).Get("trusts"); got != want {
		f.t.Errorf("%s it trusts %q, want %q", when, got, want)
	}
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
	// What is saved is resumed also if its disk is full, for one.
	f.pause(sb.ID)
	f.failNext("trust", 1)
	f.resume(sb.ID)
	f.reaches("resumed with a full disk,", sb.ID, nil, withHeaders)

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
	if err := f.rt.SetEgress(ctx, sb.ID, nil, withHeaders); !errors.Is(err, sandbox.ErrConflict) || !strings.Contains(err.Error(), "full") {
		t.Errorf("a full disk: %v", err)
	}
	f.reaches("with a full disk", sb.ID, nil, sandbox.Egress{})
	f.oldAgents = true
	if err := f.rt.SetEgress(ctx, sb.ID, nil, withHeaders); !errors.Is(err, sandbox.ErrUnsupported) || !strings.Contains(err.Error(), "earlier release") {
		t.Errorf("an agent of an earlier release: %v", err)
	}
	f.reaches("with an old agent", sb.ID, nil, sandbox.Egress{})
	if err := f.rt.SetEgress(ctx, sb.ID, nil, oneOnly); err != nil {
		t.Errorf("rules without headers: %v", err)
	}
	f.oldAgents = false
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
