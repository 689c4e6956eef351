package e2b

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
)

func ask(s *Server, method, host, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, nil)
	if host != "" {
		r.Host = host
	}
	s.ServeHTTP(w, r)
	return w
}

func TestAStartingServerIsHealthyAtOnceAndRefusesTheRestSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStarting(Config{})
		defer s.Close()
		begin := time.Now()
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			if w := ask(s, method, "", "/health"); w.Code != http.StatusOK || w.Body.String() != "Health check successful" || time.Since(begin) != 0 {
				t.Errorf("%s /health: %d after %v", method, w.Code, time.Since(begin))
			}
		}
		s.Recovering(7, 300)
		for _, host := range []string{"", "8080-i0123456789abcdefghij.example.com"} {
			begin = time.Now()
			w := ask(s, http.MethodGet, host, "/sandboxes")
			if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "2" ||
				!strings.Contains(w.Body.String(), "7 of 300 sandboxes are recovered") {
				t.Errorf("host %q: %d %v %s", host, w.Code, w.Header(), w.Body)
			}
			if took := time.Since(begin); took != startPatience {
				t.Errorf("it took %v", took)
			}
		}
	})
}

func TestANormalStartIsNotSeenByClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStarting(Config{})
		defer s.Close()
		answered := make(chan int)
		go func() { answered <- ask(s, http.MethodGet, "", "/v2/sandboxes").Code }()
		go func() { answered <- ask(s, http.MethodGet, "8080-i0123456789abcdefghij.example.com", "/health").Code }()
		time.Sleep(startPatience - time.Millisecond)
		s.Open(&fakeruntime.Runtime{}, &MemoryKeys{})
		// Without a key, and of a sandbox that is not there: as if there had been no start.
		got := map[int]bool{<-answered: true, <-answered: true}
		if !got[http.StatusUnauthorized] || !got[http.StatusBadGateway] {
			t.Errorf("answered %v", got)
		}
	})
}
