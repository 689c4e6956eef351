//go:build linux

package files

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/rundlet/rundlet/agent/account"
)

// An upload follows a link, and one that fails leaves what was there: the link, but
// no half of a file at its end.
func TestAnUploadThroughALinkLeavesTheLink(t *testing.T) {
	dir := t.TempDir()
	user := account.User{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
	files := newTurns()
	store := func(path string, body io.Reader) error {
		return incoming{turns: files, path: path, user: user, body: body, left: unknown}.store(t.Context())
	}
	link, end := dir+"/link", dir+"/end"
	if err := os.Symlink("end", link); err != nil {
		t.Fatal(err)
	}
	broken := io.MultiReader(strings.NewReader(strings.Repeat("x", headBytes+1)), iotest.ErrReader(errors.New("the client is gone")))
	if err := store(link, broken); err == nil {
		t.Fatal("no error")
	}
	if _, err := os.Lstat(end); !os.IsNotExist(err) {
		t.Errorf("half a file is there: %v", err)
	}
	for range 2 { // The second finds a file.
		if err := store(link, strings.NewReader("text")); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(end); string(b) != "text" {
			t.Errorf("%q, %v", b, err)
		}
		if to, err := os.Readlink(link); to != "end" {
			t.Errorf("%q, %v", to, err)
		}
	}
}

// An upload that fails takes nothing away that another one put behind the same link,
// whichever of the two made the file.
func TestABrokenUploadThroughALinkTakesNothingAway(t *testing.T) {
	dir := t.TempDir()
	user := account.User{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
	files := newTurns()
	store := func(path string, body io.Reader) error {
		return incoming{turns: files, path: path, user: user, body: body, left: unknown}.store(t.Context())
	}
	large := strings.Repeat("x", headBytes+1)
	for round := range 500 {
		link := fmt.Sprint(dir, "/link", round)
		if err := os.Symlink(fmt.Sprint("end", round), link); err != nil {
			t.Fatal(err)
		}
		var both sync.WaitGroup
		both.Go(func() {
			_ = store(link, io.MultiReader(strings.NewReader(large), iotest.ErrReader(errors.New("the client is gone"))))
		})
		both.Go(func() {
			if err := store(link, strings.NewReader("text")); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
		if b, err := os.ReadFile(link); string(b) != "text" {
			t.Fatalf("round %d: %d bytes, %v", round, len(b), err)
		}
	}
}
