//go:build linux

package agent_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/envd/signature"
)

func TestDownload(t *testing.T) {
	g := newGuest(t)
	put(t, g.home+"/f.txt", "0123456789")
	put(t, g.home+"/empty", "")
	if err := syscall.Mkfifo(g.home+"/fifo", 0o666); err != nil {
		t.Fatal(err)
	}
	version, err := os.ReadFile("/proc/version")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, path string
		header     map[string]string
		status     int
		body       string
	}{
		{"whole", "f.txt", nil, 200, "0123456789"},
		{"range", "f.txt", map[string]string{"Range": "bytes=2-4"}, 206, "234"},
		{"range wins over gzip", "f.txt", map[string]string{"Range": "bytes=-1", "Accept-Encoding": "gzip"}, 206, "9"},
		{"range beyond", "f.txt", map[string]string{"Range": "bytes=20-"}, 416, ""},
		{"not modified", "f.txt", map[string]string{"If-Modified-Since": time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}, 304, ""},
		{"identity", "f.txt", map[string]string{"Accept-Encoding": "gzip;q=0, identity"}, 200, "0123456789"},
		{"no encoding", "f.txt", map[string]string{"Accept-Encoding": "br, *;q=0"}, 406, ""},
		{"empty", "empty", nil, 200, ""},
		{"procfs", "/proc/version", nil, 200, string(version)},
		{"missing", "none", nil, 404, `{"code":404,"message":"path '` + g.home + `/none' does not exist"}`},
		{"directory", "", nil, 400, ""},
		{"fifo", "fifo", nil, 400, ""},
		{"device", "/dev/zero", nil, 400, ""},
	} {
		resp, text := g.do(t, "GET", query("path", tc.path, "username", "user"), tc.header, nil)
		if resp.StatusCode != tc.status || tc.body != "" && text != tc.body {
			t.Errorf("%s: %d %q", tc.name, resp.StatusCode, text)
		}
	}
	resp, _ := g.do(t, "GET", query("path", "f.txt", "username", "user"), nil, nil)
	if d := resp.Header.Get("Content-Disposition"); d != "inline; filename=f.txt" {
		t.Errorf("disposition %q", d)
	}
	for _, path := range []string{"f.txt", "/proc/version"} {
		resp, text := g.do(t, "GET", query("path", path, "username", "user"), map[string]string{"Accept-Encoding": "gzip, deflate, br"}, nil)
		zr, err := gzip.NewReader(strings.NewReader(text))
		if resp.Header.Get("Content-Encoding") != "gzip" || err != nil {
			t.Fatalf("%s: %v %v", path, resp.Header, err)
		}
		if b, err := io.ReadAll(zr); err != nil || string(b) != "0123456789" && string(b) != string(version) {
			t.Errorf("%s: %q %v", path, b, err)
		}
	}
}

func TestSignedURLs(t *testing.T) {
	g := newGuest(t)
	put(t, g.home+"/f", "secret")
	g.init(t, envd.InitRequest{ControlToken: "c", AccessToken: "token"})
	signed := func(op, exp, token string) string {
		q := []string{"path", "f", "username", "user", "signature", signature.Sign(signature.Request{Path: "f", Operation: op, User: "user", Expiration: exp}, token)}
		if exp != "" {
			q = append(q, "signature_expiration", exp)
		}
		return query(q...)
	}
	later, earlier := fmt.Sprint(time.Now().Add(time.Hour).Unix()), fmt.Sprint(time.Now().Add(-time.Hour).Unix())
	for _, tc := range []struct {
		name, method, path string
		header             map[string]string
		status             int
		body               string
	}{
		{"good", "GET", signed("read", "", "token"), nil, 200, "secret"},
		{"good for now", "GET", signed("read", later, "token"), nil, 200, "secret"},
		{"expired", "GET", signed("read", earlier, "token"), nil, 401, `{"code":401,"message":"signature is already expired"}`},
		{"wrong token", "GET", signed("read", "", "other"), nil, 401, `{"code":401,"message":"invalid signature"}`},
		{"wrong and expired", "GET", signed("read", earlier, "other"), nil, 401, `{"code":401,"message":"invalid signature"}`},
		{"wrong operation", "GET", signed("write", "", "token"), nil, 401, ""},
		{"write with a read signature", "POST", signed("read", "", "token"), octet, 401, ""},
		{"write", "POST", signed("write", "", "token"), octet, 200, ""},
		{"none", "GET", query("path", "f"), nil, 401, `{"code":401,"message":"missing signature query parameter"}`},
		{"header", "GET", query("path", "f"), map[string]string{"X-Access-Token": "token"}, 200, ""},
		{"wrong header wins", "GET", signed("read", "", "token"), map[string]string{"X-Access-Token": "x"}, 401, ""},
		{"compose has no signature", "POST", "/files/compose", nil, 401, ""},
	} {
		resp, text := g.do(t, tc.method, tc.path, tc.header, nil)
		if resp.StatusCode != tc.status || tc.body != "" && text != tc.body {
			t.Errorf("%s: %d %q", tc.name, resp.StatusCode, text)
		}
	}
}

func TestCompose(t *testing.T) {
	g := newGuest(t)
	for _, n := range []string{"1", "2", "3"} {
		put(t, g.home+"/part"+n, n+n)
	}
	compose := func(body string) (int, string) {
		resp, text := g.do(t, "POST", "/files/compose", map[string]string{"Content-Type": "application/json"}, strings.NewReader(body))
		return resp.StatusCode, text
	}
	if status, text := compose(`{"source_paths":["part1","none"],"destination":"out/whole","username":"user"}`); status != 404 {
		t.Errorf("missing source: %d %s", status, text)
	}
	status, text := compose(`{"source_paths":["part2","part1","part3"],"destination":"out/whole","username":"user"}`)
	if want := fmt.Sprintf(`{"path":"%s/out/whole","name":"whole","type":"file"}`, g.home); status != 200 || text != want {
		t.Fatalf("%d %s", status, text)
	}
	if b, err := os.ReadFile(g.home + "/out/whole"); string(b) != "221133" {
		t.Errorf("%q %v", b, err)
	}
	if left, _ := filepath.Glob(g.home + "/part*"); len(left) != 0 {
		t.Errorf("sources are left: %v", left)
	}
	if left, _ := filepath.Glob(g.home + "/out/.compose*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	for _, bad := range []string{"", "{", `{"source_paths":[],"destination":"x"}`, `{"source_paths":["a"]}`} {
		if status, _ := compose(bad); status != 400 {
			t.Errorf("%q: %d", bad, status)
		}
	}
}
