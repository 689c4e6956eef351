package statedir

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/internal/format"
)

func TestUserDataOutlivesANewerStateDirectory(t *testing.T) {
	l := dirs(t)
	if err := CheckFormat(l); err != nil {
		t.Errorf("a new one is refused: %v", err)
	}
	if _, err := os.Stat(formatFile(l)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the check made the file: %v", err)
	}
	unlock, err := Lock(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if text, err := os.ReadFile(formatFile(l)); err != nil || string(text) != "1\n" {
		t.Fatalf("a new one has %q, %v", text, err)
	}
	for text, refused := range map[string]bool{"": false, "1": false, "1\n": false, "2\n": true, "x": true, "99999999999999999999": true} {
		if err := os.WriteFile(formatFile(l), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		unlock, err := Lock(t.Context(), l)
		if (err != nil) != refused {
			t.Errorf("%q: %v", text, err)
		}
		if err == nil {
			unlock()
		}
		share, errShare := Share(t.Context(), l)
		if (errShare != nil) != refused {
			t.Errorf("%q, rundlet run: %v", text, errShare)
		}
		if errShare == nil {
			share()
		}
		if err := CheckFormat(l); (err != nil) != refused {
			t.Errorf("%q, without a lock: %v", text, err)
		}
		if after, err := os.ReadFile(formatFile(l)); err != nil || string(after) != text {
			t.Errorf("%q became %q, %v", text, after, err)
		}
		var newer *format.NewerError
		if text == "2\n" && (!errors.As(err, &newer) || newer.Found != 2 || newer.Known != Format || !strings.Contains(err.Error(), l.StateDir)) {
			t.Errorf("%v", err)
		}
	}
	// What was refused is not locked.
	if err := os.Remove(formatFile(l)); err != nil {
		t.Fatal(err)
	}
	if unlock, err = Lock(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	unlock()
}
