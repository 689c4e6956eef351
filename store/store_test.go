package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/sandbox"
)

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func sample(id string, state sandbox.State) Sandbox {
	no := false
	return Sandbox{
		ID: id, Instance: "d1", TemplateID: "t", Alias: "base", BuildID: "b", State: state, Reason: "why",
		Metadata:  map[string]string{"a": "1", "quote": `"'; DROP TABLE sandboxes; --`},
		CreatedAt: time.UnixMicro(1).UTC(), StartedAt: time.UnixMicro(2).UTC(), EndAt: time.UnixMicro(3).UTC(),
		VCPUs: 2, MemoryMiB: 512, DiskMiB: 1024, Secure: true, PrivatePorts: true, AllowInternet: &no, Egress: sandbox.Egress{Allow: []string{"1.1.1.1"}, Deny: []string{"0.0.0.0/0"}}, Ingress: sandbox.Ingress{MaskHost: "a:${PORT}", HTTPSPorts: []uint16{443}}, KeyID: "k", SlotID: "s",
		Deadline: time.UnixMicro(4).UTC(), SnapshotID: "n", FilesystemOnly: true, OriginID: "o", Spec: "{}", OnTimeout: "pause", AutoResume: true,
		FollowsUp: "{}", QuarantinedAt: time.UnixMicro(5).UTC(), Timeout: 6 * time.Microsecond,
		Node: "n1", Driver: "sim", Request: `{"template":"base"}`,
		Defaults:  sandbox.Defaults{User: "u", Workdir: "/w", Repository: sandbox.Repository{URL: "https://h/x", Branch: "b", Commit: "c", Checkout: "/c", User: "u"}},
		Freshness: sandbox.Freshness{Phase: "failed", Reason: "r", Branch: "b", Target: "t", Checkout: "/c", User: "u"},
	}
}

func TestSandboxComesBackAsItWasAfterReopening(t *testing.T) {
	ctx, path := context.Background(), filepath.Join(t.TempDir(), "with space?#%", "db")
	s := open(t, path)
	want := sample("i1", "running")
	if err := s.Sandboxes.Put(ctx, &want); err != nil {
		t.Fatal(err)
	}
	s.Close()
	got, err := open(t, path).Sandboxes.Get(ctx, "i1")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("database file: %v %v", info.Mode(), err)
	}
}

// The values of headers are secrets: they go when the sandbox ends.
func TestTheRowOfAKilledSandboxHasNoSecrets(t *testing.T) {
	ctx, path := context.Background(), filepath.Join(t.TempDir(), "db")
	s, value := open(t, path), strings.Repeat("hunter2", 290) // It takes more than a page.
	sb := sample("i1", "running")
	sb.Egress.Headers = map[string]map[string]string{"a.example": {"X-Key": value}}
	sb.Egress.Proxy = &sandbox.Proxy{Address: "a:1", Username: "u", Password: value, TLS: &sandbox.ProxyTLS{ServerName: "b", CACert: value}}
	if err := s.Sandboxes.Put(ctx, &sb); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Sandboxes.Get(ctx, "i1"); err != nil || got.Egress.Headers["a.example"]["X-Key"] != value || *got.Egress.Proxy.TLS != *sb.Egress.Proxy.TLS || got.Egress.Proxy.Password != value {
		t.Fatalf("%+v, %v", got.Egress, err)
	}
	sb.State = sandbox.StateKilled
	if err := s.Sandboxes.Put(ctx, &sb); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Sandboxes.Get(ctx, "i1"); err != nil || fmt.Sprint(got.Egress.Headers) != "map[a.example:map[X-Key:]]" || got.Egress.Allow == nil ||
		got.Egress.Proxy.Password != "" || got.Egress.Proxy.Username != "u" || *got.Egress.Proxy.TLS != (sandbox.ProxyTLS{ServerName: "b"}) {
		t.Errorf("%+v, %v", got.Egress, err)
	}
	if sb.Egress.Headers["a.example"]["X-Key"] == "" || sb.Egress.Proxy.Password == "" || sb.Egress.Proxy.TLS.CACert == "" {
		t.Error("the caller's row is changed")
	}
	s.Close()
	for _, name := range []string{path, path + "-wal"} {
		if b, err := os.ReadFile(name); err == nil && bytes.Contains(b, []byte("hunter2")) {
			t.Errorf("%s has the value", filepath.Base(name))
		}
	}
}

func TestUnsetFieldsStayUnset(t *testing.T) {
	ctx, s := context.Background(), open(t, filepath.Join(t.TempDir(), "db"))
	want := Sandbox{ID: "i1", State: "creating"}
	if err := s.Sandboxes.Put(ctx, &want); err != nil {
		t.Fatal(err)
	}
	got, err := s.Sandboxes.Get(ctx, "i1")
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestLiveSandboxesAreThoseOfTheInstanceThatAreNotKilled(t *testing.T) {
	ctx, s := context.Background(), open(t, filepath.Join(t.TempDir(), "db"))
	other := sample("i0", "running")
	other.Instance = "d2"
	for _, sb := range []Sandbox{sample("i3", "killing"), sample("i1", "running"), sample("i2", "killed"), other} {
		if err := s.Sandboxes.Put(ctx, &sb); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Sandboxes.Live(ctx, "d1")
	if err != nil || len(got) != 2 || got[0].ID != "i1" || got[1].ID != "i3" {
		t.Errorf("got %+v, %v", got, err)
	}
	if n, err := s.Sandboxes.CountLive(ctx); n != 3 || err != nil {
		t.Errorf("%d live in all instances, %v", n, err)
	}
	if _, err := s.Sandboxes.Get(ctx, "nope"); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown id: %v", err)
	}
}

func TestKilledSandboxesAreForgottenByAge(t *testing.T) {
	ctx, s := context.Background(), open(t, filepath.Join(t.TempDir(), "db"))
	for id, at := range map[string]int64{"old": 10, "new": 20} {
		sb := sample(id, "killed")
		sb.KilledAt = time.UnixMicro(at)
		if err := s.Sandboxes.Put(ctx, &sb); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Sandboxes.DropKilled(ctx, time.UnixMicro(20), 10); n != 1 || err != nil {
		t.Fatalf("dropped %d, %v", n, err)
	}
	got, err := s.Sandboxes.Killed(ctx, 10)
	if err != nil || len(got) != 1 || got[0].ID != "new" {
		t.Errorf("left %+v, %v", got, err)
	}
}

func TestKeys(t *testing.T) {
	ctx, s := context.Background(), open(t, filepath.Join(t.TempDir(), "db"))
	hash := sha256.Sum256([]byte("secret"))
	k := Key{ID: "k1", Name: "laptop", Hash: hash[:], Hint: "ret", CreatedAt: time.UnixMicro(5).UTC()}
	if err := s.Keys.Add(ctx, k); err != nil {
		t.Fatal(err)
	}
	if err := s.Keys.Add(ctx, Key{ID: "k2", Hash: hash[:]}); err == nil {
		t.Error("the same hash was stored twice")
	}
	if got, err := s.Keys.ByHash(ctx, hash[:]); err != nil || !reflect.DeepEqual(got, k) {
		t.Errorf("by hash: %+v, %v", got, err)
	}
	if got, err := s.Keys.All(ctx); err != nil || len(got) != 1 {
		t.Errorf("list: %+v, %v", got, err)
	}
	if err := s.Keys.Remove(ctx, "k1"); err != nil {
		t.Fatal(err)
	}
	if err := s.Keys.Remove(ctx, "k1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("second removal: %v", err)
	}
	if _, err := s.Keys.ByHash(ctx, hash[:]); !errors.Is(err, ErrNotFound) {
		t.Errorf("a removed key was found: %v", err)
	}
}

func TestSettingIsTheSameForAllWhoRace(t *testing.T) {
	ctx, path := context.Background(), filepath.Join(t.TempDir(), "db")
	var mu sync.Mutex
	seen := map[string]int{}
	var wg sync.WaitGroup
	for i := range 4 {
		s := open(t, path)
		wg.Go(func() {
			got, err := s.Settings.GetOrMake(ctx, "secret", func() ([]byte, error) { return []byte{byte(i)}, nil })
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			seen[string(got)]++
			mu.Unlock()
		})
	}
	wg.Wait()
	if len(seen) != 1 {
		t.Errorf("%d different values", len(seen))
	}
}

func TestTemplates(t *testing.T) {
	ctx, s := context.Background(), open(t, filepath.Join(t.TempDir(), "db"))
	want := Template{ID: "t1", Alias: "base", BuildID: "b", VMID: "v", Snapshot: "s", Stamp: "x", Spec: []byte("{}"),
		VCPUs: 2, MemoryMiB: 512, DiskMiB: 10, CreatedAt: time.UnixMicro(9).UTC()}
	for range 2 {
		if err := s.Templates.Put(ctx, &want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Templates.All(ctx)
	if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], want) || want.Version != 2 {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestOpenRefusesAFileThatIsNoDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, []byte("this is not a database, not at all, really not"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(context.Background(), path); err == nil {
		s.Close()
		t.Error("opened")
	}
}
