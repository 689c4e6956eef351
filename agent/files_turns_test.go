//go:build linux

package agent_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// post uploads from goroutines, where do may not end the test.
func (g *guest) post(path string, header map[string]string, body io.Reader) (status int, err error) {
	req, err := http.NewRequest("POST", g.url+path, body)
	if err != nil {
		return 0, err
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// whole reports whether b is one letter, as often as it says which upload it is of.
func whole(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	return strings.Count(string(b), string(b[:1])) == len(b) && len(b) == lengthOf(b[0])
}

// lengthOf is that of the contents of an upload: some small, some spooled.
func lengthOf(letter byte) int {
	return []int{10, 3000, 200 << 10, 300 << 10, 700 << 10, 1}[int(letter-'a')%6]
}

func TestUploadsOfOneFileAtTheSameTimeNeverMix(t *testing.T) {
	g := newGuest(t)
	for _, small := range []bool{true, false} {
		put(t, g.home+"/one", "a"+strings.Repeat("a", lengthOf('a')-1))
		_ = os.Symlink("one", g.home+"/link")
		_ = os.Link(g.home+"/one", g.home+"/hard")
		for round := range 15 {
			var wg sync.WaitGroup
			for i := range 6 {
				if small && lengthOf(byte('a'+i)) > 200<<10 {
					continue
				}
				contents := bytes.Repeat([]byte{byte('a' + i)}, lengthOf(byte('a'+i)))
				name := []string{"one", "link", "hard"}[(i+round)%3]
				path, header, body := query("path", name, "username", "user"), octet, io.Reader(bytes.NewReader(contents))
				switch (i + round) % 4 {
				case 0:
					header, body = with(octet, "Content-Encoding", "gzip"), gzipped(contents)
				case 1:
					var kind string
					kind, body = form(name, string(contents))
					path, header = query("username", "user"), map[string]string{"Content-Type": kind}
				}
				wg.Go(func() {
					if status, err := g.post(path, header, body); err != nil || status != 200 {
						t.Errorf("upload of %d bytes: %d, %v", len(contents), status, err)
					}
				})
				if small {
					wg.Go(func() {
						if _, text := g.do(t, "GET", query("path", "one", "username", "user"), nil, nil); !whole([]byte(text)) {
							t.Errorf("a reader beside uploads saw %d bytes, beginning with %.3q and ending with %.3q", len(text), text, text[max(0, len(text)-3):])
						}
					})
				}
			}
			wg.Wait()
			if b, err := os.ReadFile(g.home + "/one"); err != nil || !whole(b) {
				t.Fatalf("round %d: %d bytes, %d of %.1q, %v", round, len(b), bytes.Count(b, b[:1]), b, err)
			}
		}
	}
	info, err := os.Stat(g.home + "/one")
	if err != nil || info.Sys().(*syscall.Stat_t).Nlink != 2 {
		t.Errorf("it is another file: %v, %v", info, err)
	}
}

// TestABrokenUploadTakesNothingAway of another one to the same new path.
func TestABrokenUploadTakesNothingAway(t *testing.T) {
	g := newGuest(t)
	body, w := io.Pipe()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { _, _ = g.post(query("path", "new", "username", "user"), octet, body) })
	if _, err := w.Write(make([]byte, 2<<20)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first upload has its file", func() bool {
		_, err := os.Stat(g.home + "/new")
		return err == nil
	})
	second := make(chan error, 1)
	go func() {
		status, err := g.post(query("path", "new", "username", "user"), octet, strings.NewReader("second"))
		if status != 200 && err == nil {
			err = fmt.Errorf("status %d", status)
		}
		second <- err
	}()
	w.CloseWithError(errors.New("client is gone"))
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(g.home + "/new"); string(b) != "second" {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// smallDisk is a file system of 4 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	mnt := t.TempDir()
	if err := syscall.Mount("tmpfs", mnt, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(mnt, 0); err != nil {
			t.Error(err)
		}
	})
	return mnt
}

func TestReplacingAFileNeedsNoRoomForBoth(t *testing.T) {
	g := newGuest(t)
	mnt := smallDisk(t)
	const mib = 1 << 20
	fresh := bytes.Repeat([]byte("0123456789abcde"), 5*mib/15)
	for name, tc := range map[string]struct{ old, size, status int }{
		"as large":       {3 * mib, 3 * mib, 200},
		"larger":         {mib / 2, 7 * mib / 2, 200},
		"fits beside":    {mib, 2 * mib, 200},
		"no room at all": {2 * mib, 5*mib - 15, 507},
	} {
		for way, request := range map[string]func([]byte) (map[string]string, io.Reader){
			"octets": func(b []byte) (map[string]string, io.Reader) { return octet, bytes.NewReader(b) },
			"gzip": func(b []byte) (map[string]string, io.Reader) {
				return with(octet, "Content-Encoding", "gzip"), gzipped(b)
			},
			"multipart": func(b []byte) (map[string]string, io.Reader) {
				kind, body := form("f", string(b))
				return map[string]string{"Content-Type": kind}, body
			},
		} {
			if way == "gzip" && name != "as large" {
				continue // One shows that a body of unknown size is taken.
			}
			old := bytes.Repeat([]byte("o"), tc.old)
			if err := os.WriteFile(mnt+"/f", old, 0o600); err != nil {
				t.Fatal(err)
			}
			header, body := request(fresh[:tc.size])
			if status, err := g.post(query("path", mnt+"/f", "username", "user"), header, body); err != nil || status != tc.status {
				t.Fatalf("%s, %s: %d, %v", name, way, status, err)
			}
			b, err := os.ReadFile(mnt + "/f")
			switch {
			case err != nil:
				t.Fatal(err)
			case tc.status == 200 && !bytes.Equal(b, fresh[:tc.size]):
				t.Errorf("%s, %s: it is not what was sent, but %d bytes", name, way, len(b))
			case tc.status != 200 && !bytes.Equal(b, old):
				t.Errorf("%s, %s: the old file is gone, for %d bytes", name, way, len(b))
			}
		}
	}
}

func TestASmallUploadWithoutRoomLeavesTheOldFile(t *testing.T) {
	g := newGuest(t)
	mnt := smallDisk(t)
	if err := os.WriteFile(mnt+"/f", []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(mnt+"/filler", make([]byte, 4<<20), 0o644); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	if status, err := g.post(query("path", mnt+"/f", "username", "user"), octet, bytes.NewReader(make([]byte, 100<<10))); status != 507 {
		t.Errorf("%d, %v", status, err)
	}
	if b, err := os.ReadFile(mnt + "/f"); string(b) != "precious" {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if info, err := os.Stat(mnt + "/f"); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("it was given away: %v", err)
	}
}
