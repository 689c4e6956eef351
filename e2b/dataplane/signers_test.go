package dataplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// many is a runtime of so many sandboxes, whose tokens are their ids.
type many struct {
	piped
	count    int
	searched atomic.Int64 // tokens that a search of all has seen
	gone     string
}

func (m *many) Get(_ context.Context, id string) (sandbox.Sandbox, error) {
	if id == m.gone {
		return sandbox.Sandbox{}, sandbox.ErrNotFound
	}
	return sandbox.Sandbox{ID: id, State: sandbox.StateRunning, EnvdAccessToken: id}, nil
}

func (m *many) EachToken(_ context.Context, yield func(id, token string) bool) error {
	for i := range m.count {
		m.searched.Add(1)
		if id := m.id(i); !yield(id, id) {
			break
		}
	}
	return nil
}

// id has the length of a token.
func (m *many) id(i int) string { return fmt.Sprintf("%064d", i) }

func signedBy(token string) *http.Request {
	return files("GET", "/home/user/a.txt", "user", sign("/home/user/a.txt", "read", "user", token, ""), "")
}

func TestSignedURLOfARecentSandboxIsFoundWithoutTheOthers(t *testing.T) {
	m := &many{count: 10000}
	p := New(m, slog.New(slog.DiscardHandler))
	defer p.Close()
	p.OnWork(func(*http.Request, float64) (time.Duration, bool) {
		t.Error("it was charged for")
		return 0, false
	})
	for i := range recentSigners {
		p.Signer(m.id(i), m.id(i))
	}
	for _, i := range []int{0, 17, recentSigners - 1} {
		if target, err := p.Signed(signedBy(m.id(i))); err != nil || target.ID != m.id(i) || target.Port != envd.Port {
			t.Errorf("%d: %+v, %v", i, target, err)
		}
	}
	if m.searched.Load() != 0 {
		t.Errorf("%d other tokens were tried", m.searched.Load())
	}
	m.gone = m.id(17)
	if _, err := p.Signed(signedBy(m.gone)); !errors.Is(err, ErrBadSignature) {
		t.Errorf("of one that is gone: %v", err)
	}
}

func TestSignedURLOfAnotherSandboxIsSearchedForOnceAndPaidFor(t *testing.T) {
	m := &many{count: 1000}
	p := New(m, slog.New(slog.DiscardHandler))
	defer p.Close()
	left := 2.0 * searchCost
	p.OnWork(func(_ *http.Request, work float64) (time.Duration, bool) {
		left -= work
		return 7 * time.Second, left >= 0
	})
	for range 3 {
		if target, err := p.Signed(signedBy(m.id(500))); err != nil || target.ID != m.id(500) {
			t.Fatalf("%+v, %v", target, err)
		}
	}
	if n := m.searched.Load(); n != 501 {
		t.Errorf("%d tokens were tried in all", n)
	}
	if _, err := p.Signed(signedBy("nobody")); !errors.Is(err, ErrBadSignature) {
		t.Error(err)
	}
	before := m.searched.Load()
	var limit *LimitError
	if _, err := p.Signed(signedBy("nobody")); !errors.As(err, &limit) || limit.After != 7*time.Second {
		t.Errorf("behind the limit: %v", err)
	}
	if _, err := p.Signed(signedBy(m.id(500))); err != nil {
		t.Errorf("behind the limit, a right one that is known: %v", err)
	}
	for _, r := range []*http.Request{
		files("GET", "a", "", "v1_x", ""), files("GET", "a", "", sign("a", "read", "", "nobody", "1"), "1"),
	} {
		if _, err := p.Signed(r); err == nil || errors.As(err, &limit) {
			t.Errorf("%s: %v", r.URL, err)
		}
	}
	if m.searched.Load() != before {
		t.Error("what cannot be right was searched for")
	}
}

func TestAfterAStartSomeSignersAreKnown(t *testing.T) {
	m := &many{count: 1000}
	p := New(m, slog.New(slog.DiscardHandler))
	defer p.Close()
	if err := p.FillSigners(t.Context()); err != nil || len(p.signers.ring) != recentSigners || m.searched.Load() != recentSigners {
		t.Errorf("%v, %d are known, %d were looked at", err, len(p.signers.ring), m.searched.Load())
	}
}

func TestSearchesAreOneAtATimeAndFewWait(t *testing.T) {
	m := &many{count: 1}
	p := New(m, slog.New(slog.DiscardHandler))
	defer p.Close()
	p.searching.Lock() // As another search does.
	refused, rest := make(chan struct{}), make(chan error)
	for range searchers + 1 {
		go func() {
			_, err := p.Signed(signedBy("nobody"))
			var limit *LimitError
			if errors.As(err, &limit) {
				close(refused)
				return
			}
			rest <- err
		}()
	}
	<-refused
	p.searching.Unlock()
	for range searchers {
		if err := <-rest; !errors.Is(err, ErrBadSignature) {
			t.Error(err)
		}
	}
}

// The ring keeps those that are used.
func TestSignersForgetWhatWasNotUsed(t *testing.T) {
	var s signers
	for i := range recentSigners {
		s.add(fmt.Sprint(i), fmt.Sprint(i))
	}
	find := func(i int) bool {
		what, err := parseSigned(signedBy(fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		_, ok := s.find(what)
		return ok
	}
	s.add("3", "3")
	find(5)
	for i := range recentSigners - 2 {
		s.add(fmt.Sprint("new", i), "x")
	}
	for i, want := range map[int]bool{3: true, 5: true, 4: false, 100: false} {
		if find(i) != want {
			t.Errorf("%d: found %v", i, !want)
		}
	}
	if len(s.ring) != recentSigners || len(s.place) != recentSigners {
		t.Errorf("%d and %d are remembered", len(s.ring), len(s.place))
	}
}

func FuzzSigned(f *testing.F) {
	f.Add("GET", "path=hello.txt&username=user&signature=v1_gUtH/s9YCJWgCizjfUxuWfhFE4QSydOWEIIvfLwDr6E")
	f.Add("POST", "signature=v1_&signature_expiration=1")
	f.Add("OPTIONS", "signature=%zz;a")
	rt := &fakeruntime.Runtime{}
	if _, err := rt.Create(f.Context(), sandbox.CreateRequest{Template: "base", Secure: true}); err != nil {
		f.Fatal(err)
	}
	p := New(rt, slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, method, query string) {
		r := httptest.NewRequest("GET", "/files", nil)
		r.Method, r.URL.RawQuery = method, query
		if target, err := p.Signed(r); err == nil {
			t.Fatalf("%q was taken for a signature of %+v", query, target)
		}
	})
}

// BenchmarkSigned is a signed URL without a sandbox in it: of one that was used
// lately, a wrong one, and a wrong one of a client that has used up its searches.
func BenchmarkSigned(b *testing.B) {
	for _, count := range []int{10, 10000} {
		m := &many{count: count}
		p := New(m, slog.New(slog.DiscardHandler))
		for i := range count {
			p.Signer(m.id(i), m.id(i))
		}
		run := func(name, token string, charge bool) {
			r := signedBy(token)
			b.Run(fmt.Sprintf("%s/%d", name, count), func(b *testing.B) {
				p.OnWork(func(*http.Request, float64) (time.Duration, bool) { return 0, charge })
				for b.Loop() {
					_, _ = p.Signed(r)
				}
			})
		}
		run("recent", m.id(count-1), true)
		run("wrong", "nobody", true)
		run("wrong_limited", "nobody", false)
		p.Close()
	}
}
