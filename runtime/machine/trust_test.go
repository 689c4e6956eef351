package machine

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/sandbox"
)

// guest is one whose agent answers with a status, or not at all without one.
type guest struct{ answer string }

func (g guest) Dial(ctx context.Context, _ string, _ uint16) (net.Conn, error) {
	if g.answer == "" {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		if req, err := http.ReadRequest(bufio.NewReader(there)); err == nil {
			var body [1 << 10]byte
			_, _ = req.Body.Read(body[:])
			_, _ = there.Write([]byte("HTTP/1.1 " + g.answer + "\r\nContent-Length: 0\r\n\r\n"))
		}
	}()
	return here, nil
}

var withHeaders = egress.Policy{All: true, Headers: map[string]map[string]string{"a.example": {"X": "y"}}}

func TestAnswersOfAnAgentThatShouldTrust(t *testing.T) {
	for answer, want := range map[string]error{
		"204 No Content": nil, "401 Unauthorized": sandbox.ErrNoAnswer, "404 Not Found": sandbox.ErrUnsupported,
		"409 Conflict": sandbox.ErrUnavailable, "507 Insufficient Storage": sandbox.ErrUnavailable,
	} {
		m := &Machines{cfg: Config{Authority: "a certificate", Tokens: Tokens{Secret: []byte("secret")}}, dialer: guest{answer}}
		if err := m.Trust(t.Context(), "a", withHeaders); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", answer, err, want)
		}
	}
}

func TestAnAgentThatNeverTrustsIsNotWaitedForForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		m := &Machines{cfg: Config{Authority: "a certificate"}, dialer: guest{}}
		if err := m.Trust(t.Context(), "a", withHeaders); !errors.Is(err, sandbox.ErrNoAnswer) || time.Since(begin) != TrustTimeout {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

// Only rules for headers need an authority, and no guest is asked to trust one without them.
func TestPoliciesWithoutHeadersNeedNoAuthority(t *testing.T) {
	m := &Machines{dialer: guest{"500 Internal Server Error"}}
	if err := errors.Join(m.CheckHeaders(egress.Everything), m.Trust(t.Context(), "a", egress.Everything)); err != nil {
		t.Error(err)
	}
	if err := m.Trust(t.Context(), "a", withHeaders); !errors.Is(err, sandbox.ErrUnsupported) {
		t.Errorf("headers: %v", err)
	}
	m.cfg.Authority = "a certificate"
	if err := m.Trust(t.Context(), "a", egress.Everything); err != nil {
		t.Errorf("without headers: %v", err)
	}
}
