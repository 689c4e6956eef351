package runtime

import (
	"maps"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
)

func TestEachTokenIsThatOfAShownAndSecuredSandbox(t *testing.T) {
	f := newFixture(t)
	want := map[string]string{}
	for range 3 {
		sb := f.create(long, func(r *sandbox.CreateRequest) { r.Secure = true })
		want[sb.ID] = sb.EnvdAccessToken
	}
	paused := f.paused(func(r *sandbox.CreateRequest) { r.Secure = true })
	sb, err := f.rt.Get(t.Context(), paused)
	if err != nil {
		t.Fatal(err)
	}
	want[paused] = sb.EnvdAccessToken
	f.create(long, func(r *sandbox.CreateRequest) { r.Secure = false })
	killed := f.create(long, func(r *sandbox.CreateRequest) { r.Secure = true }).ID
	if err := f.rt.Kill(t.Context(), killed); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	if err := f.rt.EachToken(t.Context(), func(id, token string) bool { got[id] = token; return true }); err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, got %v, want %v", err, got, want)
	}
	seen := 0
	_ = f.rt.EachToken(t.Context(), func(string, string) bool { seen++; return false })
	if seen != 1 {
		t.Errorf("it went on after it was stopped: %d", seen)
	}
}
