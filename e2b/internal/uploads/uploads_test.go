package uploads

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/quota"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
)

func TestALinkIsValidForItsTime(t *testing.T) {
	u, now := New(), time.Unix(1000, 500)
	for _, template := range []string{"tpl0", "ns/app", "a%b c?d\ne"} {
		link := u.URL("https://a.example:1", template, strings.Repeat("a", 64), "key-1", now)
		r := httptest.NewRequest("PUT", link, nil)
		for after, ok := range map[time.Duration]bool{0: true, LinkTime: true, LinkTime + time.Second: false, 48 * time.Hour: false} {
			key, err := u.Check(r, now.Add(after))
			if (err == nil) != ok || ok && key != "key-1" {
				t.Errorf("%s after %s: %q, %v", link, after, key, err)
			}
		}
		if _, err := New().Check(r, now); err == nil {
			t.Error("another process takes the link")
		}
	}
}

func TestUploadsAreRecognised(t *testing.T) {
	for target, want := range map[string]bool{
		"PUT /templates/a/files/b": true, "PUT /templates/a%2Fb/files/c?x": true, "GET /templates/a/files/b": false, "POST /templates/a/files/b": false,
		"PUT /templates/a/files": false, "PUT /templates/a/files/b/c": false, "PUT /templates/a/b/files/c": false, "PUT /x/templates/a/files/b": false, "PUT /files": false,
	} {
		method, path, _ := strings.Cut(target, " ")
		if got := Is(httptest.NewRequest(method, path, nil)); got != want {
			t.Errorf("%s: %v", target, got)
		}
	}
}

// Uploads of a key that has its share wait for the end of another, and not for ever.
func TestUploadsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := New()
		u.Budget = quota.NewBudget(2, 1)
		begin := func(ctx context.Context, key string) (func(), error) {
			r := httptest.NewRequest("PUT", "/", strings.NewReader("x"))
			_, end, err := u.Begin(httptest.NewRecorder(), r.WithContext(exchange.WithKey(ctx, key)))
			return end, err
		}
		end, err := begin(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		other, err := begin(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		other()
		gone, leave := context.WithCancel(t.Context())
		result := make(chan error)
		go func() {
			_, err := begin(gone, "a")
			result <- err
		}()
		synctest.Wait()
		leave()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("a client that left: %v", err)
		}
		start := time.Now()
		var refused *refusal.Error
		if _, err := begin(t.Context(), "a"); !errors.As(err, &refused) || refused.Row != refusal.TooManyUploads || time.Since(start) != waitTime {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		for range 3 {
			go func() {
				end, err := begin(t.Context(), "a")
				if err == nil {
					end()
				}
				result <- err
			}()
		}
		synctest.Wait()
		end()
		for range 3 {
			if err := <-result; err != nil {
				t.Error(err)
			}
		}
		if u.Budget.Used() != 0 || time.Since(start) != waitTime {
			t.Errorf("%d are counted", u.Budget.Used())
		}
	})
}
