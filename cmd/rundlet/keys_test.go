package main

import (
	"errors"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node/keys"
	"github.com/rundlet/rundlet/store"
)

func openStore(t *testing.T, l layout.Layout) *store.Store {
	t.Helper()
	db, err := store.Open(t.Context(), l.Database())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func openKeys(t *testing.T, l layout.Layout) keys.Store {
	t.Helper()
	return keys.New(openStore(t, l))
}

func TestKeysLifeCycle(t *testing.T) {
	l := home(t)
	text := strings.TrimSpace(must(t, "keys", "create", "--name", "ci"))
	if !regexp.MustCompile(`^e2b_[0-9a-f]{40}$`).MatchString(text) {
		t.Fatalf("key %q", text)
	}
	made := decode[map[string]string](t, must(t, "--json", "keys", "create", "--name", "second"))
	if made["id"] == "" || made["name"] != "second" || !strings.HasPrefix(made["key"], "e2b_") {
		t.Errorf("created %v", made)
	}
	list := decode[[]keyLine](t, must(t, "--json", "keys", "ls"))
	if len(list) != 2 || list[0].Name != "ci" || list[1].ID != made["id"] || time.Since(list[0].CreatedAt) > time.Hour {
		t.Fatalf("list %+v", list)
	}
	if out := must(t, "--json", "keys", "ls"); !strings.Contains(out, `"created_at"`) || strings.Contains(out, text) {
		t.Errorf("list %s", out)
	}
	table := must(t, "keys", "ls")
	if lines := strings.Split(strings.TrimSpace(table), "\n"); len(lines) != 3 || !strings.HasPrefix(lines[0], "ID") || !strings.Contains(lines[1], "ci") {
		t.Errorf("table %q", table)
	}
	if strings.Contains(table, text) || !strings.Contains(table, text[:8]) {
		t.Errorf("the table has the key itself, or nothing to know it by: %s", table)
	}
	// A server that runs all the while sees the removal at once.
	server := openKeys(t, l)
	if _, err := server.Verify(t.Context(), text); err != nil {
		t.Fatal(err)
	}
	must(t, "keys", "rm", list[0].ID)
	if _, err := server.Verify(t.Context(), text); !errors.Is(err, e2b.ErrBadKey) {
		t.Errorf("a removed key: %v", err)
	}
	if _, err := cli(t, "keys", "rm", list[0].ID); err == nil || !strings.Contains(err.Error(), list[0].ID) {
		t.Errorf("removed twice: %v", err)
	}
	if left := decode[[]keyLine](t, must(t, "--json", "keys", "ls")); len(left) != 1 {
		t.Errorf("left %+v", left)
	}
}

func TestNoKeysAreAnEmptyList(t *testing.T) {
	home(t)
	if out := must(t, "--json", "keys", "ls"); strings.TrimSpace(out) != "[]" {
		t.Errorf("%q", out)
	}
}

// The default key is the command line's own: made once, and made again when it
// was removed.
func TestDefaultKey(t *testing.T) {
	l := home(t)
	key := func() string { return decode[map[string]string](t, must(t, "--json", "env"))["E2B_API_KEY"] }
	first := key()
	if again := key(); again != first {
		t.Errorf("keys %s and %s", first, again)
	}
	info, err := os.Stat(keys.DefaultFile(l))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others can read it: %v, %v", info.Mode(), err)
	}
	list := decode[[]keyLine](t, must(t, "--json", "keys", "ls"))
	if len(list) != 1 || list[0].Name != "default" {
		t.Fatalf("keys %+v", list)
	}
	must(t, "keys", "rm", list[0].ID)
	second := key()
	if _, err := openKeys(t, l).Verify(t.Context(), second); second == first || err != nil {
		t.Errorf("key %s after %s was removed: %v", second, first, err)
	}
	if err := os.Remove(keys.DefaultFile(l)); err != nil {
		t.Fatal(err)
	}
	if third := key(); third == second {
		t.Error("a key came back whose text was gone")
	}
}

func TestADamagedDefaultKeyIsReplaced(t *testing.T) {
	l := home(t)
	if err := l.Make(slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "\n", "e2b_0000", "\x00"} {
		if err := os.WriteFile(keys.DefaultFile(l), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		key := decode[map[string]string](t, must(t, "--json", "env"))["E2B_API_KEY"]
		if _, err := openKeys(t, l).Verify(t.Context(), key); err != nil {
			t.Errorf("after %q: %v", text, err)
		}
	}
}
