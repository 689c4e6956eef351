//go:build linux

package agent_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func (g *guest) do(t *testing.T, method, path string, header map[string]string, body io.Reader) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, g.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := g.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func query(kv ...string) string {
	q := url.Values{}
	for i := 0; i < len(kv); i += 2 {
		q.Set(kv[i], kv[i+1])
	}
	return "/files?" + q.Encode()
}

var octet = map[string]string{"Content-Type": "application/octet-stream"}

func with(base map[string]string, kv ...string) map[string]string {
	m := map[string]string{}
	for k, v := range base {
		m[k] = v
	}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return m
}

func gzipped(b []byte) *bytes.Buffer {
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	zw.Write(b)
	zw.Close()
	return &buf
}

func TestUploadOctetStream(t *testing.T) {
	g := newGuest(t)
	big := make([]byte, 20<<20)
	rand.NewChaCha8([32]byte{1}).Read(big)
	for _, body := range [][]byte{[]byte("hello"), {}, big, big[:300<<10]} {
		for _, zip := range []bool{false, true} {
			var r io.Reader = bytes.NewReader(body)
			h := octet
			if zip {
				r, h = gzipped(body), with(octet, "Content-Encoding", "gzip")
			}
			// The second round overwrites the file of the first.
			resp, text := g.do(t, "POST", query("path", "a/b/f.bin", "username", "user"), h, r)
			want := fmt.Sprintf(`[{"path":"%s/a/b/f.bin","name":"f.bin","type":"file"}]`, g.home)
			if resp.StatusCode != 200 || text != want {
				t.Fatalf("%d %s", resp.StatusCode, text)
			}
			resp, text = g.do(t, "GET", query("path", "a/b/f.bin", "username", "user"), nil, nil)
			if resp.StatusCode != 200 || sha256.Sum256([]byte(text)) != sha256.Sum256(body) {
				t.Errorf("%d bytes came back as %d, status %d", len(body), len(text), resp.StatusCode)
			}
		}
	}
	for _, p := range []string{"/a", "/a/b", "/a/b/f.bin"} {
		info, err := os.Stat(g.home + p)
		if err != nil || info.Sys().(*syscall.Stat_t).Uid != userID {
			t.Errorf("%s does not belong to the user: %v", p, err)
		}
	}
	if left, _ := filepath.Glob(g.home + "/a/b/.upload*"); len(left) != 0 {
		t.Errorf("left behind %v", left)
	}
}

func form(files ...string) (string, io.Reader) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		h := textproto.MIMEHeader{}
		h.Set("Content-Disposition", fmt.Sprintf(`form-data; name="file"; filename="%s"`, files[i]))
		p, _ := w.CreatePart(h)
		io.WriteString(p, files[i+1])
	}
	w.WriteField("other", "ignored")
	w.Close()
	return w.FormDataContentType(), &b
}

func TestUploadMultipart(t *testing.T) {
	g := newGuest(t)
	post := func(q string, files ...string) (int, string) {
		ct, body := form(files...)
		resp, text := g.do(t, "POST", q, map[string]string{"Content-Type": ct}, body)
		return resp.StatusCode, text
	}
	status, text := post("/files?username=user", "x/y/one.txt", "1", g.home+"/two.txt", "22")
	want := fmt.Sprintf(`[{"path":"%[1]s/x/y/one.txt","name":"one.txt","type":"file"},{"path":"%[1]s/two.txt","name":"two.txt","type":"file"}]`, g.home)
	if status != 200 || text != want {
		t.Fatalf("%d %s, want %s", status, text, want)
	}
	if b, err := os.ReadFile(g.home + "/x/y/one.txt"); string(b) != "1" {
		t.Errorf("%q %v", b, err)
	}
	status, text = post(query("username", "user", "path", "named"), "ignored", "3")
	if b, err := os.ReadFile(g.home + "/named"); status != 200 || string(b) != "3" {
		t.Errorf("%d %s %q %v", status, text, b, err)
	}
	if status, text = post("/files?username=user"); status != 200 || text != "[]" {
		t.Errorf("no files: %d %s", status, text)
	}
	for name, run := range map[string]func() (int, string){
		"two files for one path": func() (int, string) { return post(query("username", "user", "path", "p"), "a", "1", "b", "2") },
		"same file twice":        func() (int, string) { return post("/files?username=user", "a", "1", "./a", "2") },
		"no name":                func() (int, string) { return post("/files?username=user", "", "1") },
		"directory":              func() (int, string) { return post("/files?username=user", "x", "1") },
		"below a file":           func() (int, string) { return post("/files?username=user", "two.txt/z", "1") },
	} {
		if status, text := run(); status != 400 {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
}

func TestUploadErrors(t *testing.T) {
	g := newGuest(t)
	for _, tc := range []struct {
		name, path string
		header     map[string]string
		body       string
		status     int
	}{
		{"unknown user", query("path", "f", "username", "ghost"), octet, "", 401},
		{"no path", "/files?username=user", octet, "", 400},
		{"no content type", query("path", "f"), nil, "", 400},
		{"content type", query("path", "f"), map[string]string{"Content-Type": "text/html"}, "", 415},
		{"content encoding", query("path", "f"), with(octet, "Content-Encoding", "br"), "", 415},
		{"not gzip", query("path", "bad"), with(octet, "Content-Encoding", "gzip"), "plain", 400},
		{"broken gzip", query("path", "bad"), with(octet, "Content-Encoding", "gzip"), gzipped(bytes.Repeat([]byte("x"), 1<<20)).String()[:600], 400},
		{"broken form", query("path", "bad"), map[string]string{"Content-Type": "multipart/form-data; boundary=B"}, "--B\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nhalf", 400},
		{"no boundary", query("path", "bad"), map[string]string{"Content-Type": "multipart/form-data"}, "", 400},
		{"disk full", query("path", "/dev/full"), octet, "x", 400},
		{"metadata value", query("path", "bad"), with(octet, "X-Metadata-A", "caf\u00e9"), "", 400},
		{"metadata size", query("path", "bad"), with(octet, "X-Metadata-A", strings.Repeat("x", 4096)), "", 400},
		{"metadata key", query("path", "bad"), with(octet, "X-Metadata-"+strings.Repeat("k", 247), "v"), "", 400},
		{"climbs out", query("path", "../../../../../../proc/self/nothing"), octet, "x", 0},
	} {
		resp, text := g.do(t, "POST", tc.path, tc.header, strings.NewReader(tc.body))
		var e struct {
			Code    int
			Message string
		}
		err := json.Unmarshal([]byte(text), &e)
		if resp.StatusCode != tc.status && tc.status != 0 || resp.StatusCode < 400 || err != nil || e.Code != resp.StatusCode || e.Message == "" {
			t.Errorf("%s: %d %s", tc.name, resp.StatusCode, text)
		}
	}
	if _, err := os.Stat(g.home + "/bad"); !os.IsNotExist(err) {
		t.Errorf("a refused upload left a file: %v", err)
	}
}

// A client that disappears leaves no new file, and an old one as it was.
func TestUploadBroken(t *testing.T) {
	g := newGuest(t)
	put(t, g.home+"/old", "precious")
	for _, name := range []string{"new", "old"} {
		body, w := io.Pipe()
		go func() {
			w.Write(make([]byte, 2<<20))
			w.CloseWithError(errors.New("client is gone"))
		}()
		req, _ := http.NewRequestWithContext(t.Context(), "POST", g.url+query("path", name, "username", "user"), body)
		req.Header.Set("Content-Type", "application/octet-stream")
		if resp, err := g.client.Do(req); err == nil {
			resp.Body.Close()
			t.Fatalf("upload of %s: %s", name, resp.Status)
		}
	}
	eventually(t, "removal of the new file", func() bool {
		_, err := os.Stat(g.home + "/new")
		return os.IsNotExist(err)
	})
	if b, err := os.ReadFile(g.home + "/old"); string(b) != "precious" {
		t.Errorf("old file is %d bytes, %v", len(b), err)
	}
}

func TestMetadata(t *testing.T) {
	g := newGuest(t)
	resp, text := g.do(t, "POST", query("path", "m", "username", "user"), with(octet, "X-Metadata-Author", "Ann", "X-Metadata-Tag", "1"), strings.NewReader("x"))
	want := fmt.Sprintf(`[{"path":"%s/m","name":"m","type":"file","metadata":{"author":"Ann","tag":"1"}}]`, g.home)
	if resp.StatusCode != 200 || text != want {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	e, err := g.stat(t, "m")
	if err != nil || len(e.GetMetadata()) != 2 || e.GetMetadata()["author"] != "Ann" {
		t.Errorf("%v %v", e, err)
	}
	// The next upload replaces all of it.
	g.do(t, "POST", query("path", "m", "username", "user"), with(octet, "X-Metadata-Other", "2"), strings.NewReader("x"))
	if e, err = g.stat(t, "m"); err != nil || len(e.GetMetadata()) != 1 || e.GetMetadata()["other"] != "2" {
		t.Errorf("%v %v", e, err)
	}
}
