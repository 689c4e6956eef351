package e2b

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/e2b/internal/quota"
	"github.com/rundlet/rundlet/e2b/internal/uploads"
	"github.com/rundlet/rundlet/sandbox"
)

// link asks for where to send files.
func (n *node) link(b requested, hash string, header ...string) (url string, present bool) {
	n.t.Helper()
	r := n.do("GET", "/templates/"+b.template+"/files/"+hash, "", header...)
	if r.code != http.StatusCreated {
		n.t.Fatalf("%d %s", r.code, r.body)
	}
	f := r.fields(n.t)
	return f["url"].(string), f["present"].(bool)
}

// upload sends files as SDKs do: without a key.
func (n *node) upload(url string, body io.Reader, header ...string) reply {
	n.t.Helper()
	req, err := http.NewRequestWithContext(n.t.Context(), "PUT", url, body)
	if err != nil {
		n.t.Fatal(err)
	}
	return n.send(req, header...)
}

// kept is what the runtime keeps of the files of a build.
func (n *node) kept(b requested, hash string) string { return n.Files()[b.template+"/"+hash] }

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func TestFilesAreUploaded(t *testing.T) {
	n := newNode(t, Config{})
	b := n.build("app")
	archive := bytes.Repeat([]byte("archive."), 1<<20)
	for i, send := range []func(url string) reply{
		func(url string) reply { return n.upload(url, bytes.NewReader(archive)) },
		func(url string) reply { return n.upload(url, io.MultiReader(bytes.NewReader(archive))) }, // Without a length.
		func(url string) reply { return n.upload(url, bytes.NewReader(archive), "Expect", "100-continue") },
		func(url string) reply { return n.upload(url, bytes.NewReader(archive), "X-API-Key", "wrong") },
	} {
		hash := digest([]byte{byte(i)})
		url, present := n.link(b, hash)
		if present || !strings.HasPrefix(url, n.url+"/templates/"+b.template+"/files/"+hash+"?") {
			t.Errorf("%s, present %v", url, present)
		}
		if r := send(url); r.code != http.StatusNoContent || r.body != "" {
			t.Errorf("%d: %d %s", i, r.code, r.body)
		}
		if got := n.kept(b, hash); got != digest(archive) {
			t.Errorf("%d: %s is kept", i, got)
		}
		// What is there stays, and a client that sends it again sees no broken connection.
		again, present := n.link(b, hash)
		if !present {
			t.Error("the files are not there")
		}
		if r := n.upload(again, bytes.NewReader(append(archive, 'x'))); r.code != http.StatusNoContent {
			t.Errorf("again: %d %s", r.code, r.body)
		}
		if got := n.kept(b, hash); got != digest(archive) {
			t.Errorf("again: %s is kept", got)
		}
	}
	if used := n.server.control.Uploads.Budget.Used(); used != 0 {
		t.Errorf("%d uploads are counted", used)
	}
}

func TestFilesAreUploadedAtTheSameTime(t *testing.T) {
	n := newNode(t, Config{})
	n.server.control.Uploads.Budget = quota.NewBudget(4, 3) // Others wait.
	b := n.build("app")
	archive := bytes.Repeat([]byte("x"), 1<<20)
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			url, _ := n.link(b, digest([]byte{byte(i % 4)}))
			if r := n.upload(url, bytes.NewReader(archive)); r.code != http.StatusNoContent {
				t.Errorf("%d %s", r.code, r.body)
			}
		})
	}
	all.Wait()
	if len(n.Files()) != 4 || n.Receiving() != 0 || n.server.control.Uploads.Budget.Used() != 0 {
		t.Errorf("%d files, %d are being read, %d are counted", len(n.Files()), n.Receiving(), n.server.control.Uploads.Budget.Used())
	}
}

func TestALinkIsForOneUploadTarget(t *testing.T) {
	n := newNode(t, Config{})
	b, other := n.build("app"), n.build("other")
	good, _ := n.link(b, filesHash)
	hash2 := digest([]byte("2"))
	for name, bad := range map[string]string{
		"another template":  strings.Replace(good, b.template, other.template, 1),
		"its name":          strings.Replace(good, b.template, "app", 1),
		"other files":       strings.Replace(good, filesHash, hash2, 1),
		"a later end":       strings.Replace(good, "expires=", "expires=9", 1),
		"another key":       strings.Replace(good, "key=", "key=x", 1),
		"no signature":      good[:strings.Index(good, "&signature")],
		"another signature": good[:len(good)-1] + "_",
		"nothing":           good[:strings.Index(good, "?")],
		"not a query":       good + "&%zz",
		"of another server": uploads.New().URL(n.url, b.template, filesHash, "", time.Now()),
	} {
		if bad == good {
			t.Fatal(name)
		}
		n.upload(bad, strings.NewReader("x")).wantError(t, 403, "not valid")
		// A key does not replace a signature.
		n.upload(bad, strings.NewReader("x"), "X-API-Key", n.key).wantError(t, 403, "not valid")
	}
	late := n.server.control.Uploads.URL(n.url, b.template, filesHash, "", time.Now().Add(-uploads.LinkTime-2*time.Second))
	n.upload(late, strings.NewReader("x")).wantError(t, 403, "expired")
	// A signature does not replace a key.
	req, _ := http.NewRequestWithContext(t.Context(), "GET", good, nil)
	n.send(req).wantError(t, 401, "API key")
	if len(n.Files()) != 0 {
		t.Errorf("files: %v", n.Files())
	}
	if r := n.upload(good, strings.NewReader("x")); r.code != http.StatusNoContent {
		t.Errorf("the link itself: %d %s", r.code, r.body)
	}
	for _, hash := range []string{"x", strings.ToUpper(filesHash), filesHash + "0", "..%2F..%2Fetc"} {
		n.do("GET", "/templates/app/files/"+hash, "").wantError(t, 400, "64")
		n.upload(n.server.control.Uploads.URL(n.url, "app", "x", "", time.Now()), strings.NewReader("x")).wantError(t, 400, "64")
	}
	n.do("GET", "/templates/nope/files/"+filesHash, "").wantError(t, 404, "template 'nope' not found")
	gone := n.server.control.Uploads.URL(n.url, "nope", filesHash, "", time.Now())
	n.upload(gone, strings.NewReader("x")).wantError(t, 404, "template 'nope' not found")
}

func TestUploadsAreBounded(t *testing.T) {
	n := newNode(t, Config{MaxUpload: 1 << 20})
	b := n.build("app")
	url, _ := n.link(b, filesHash)
	large := bytes.Repeat([]byte("x"), 1<<20+1)
	n.upload(url, bytes.NewReader(large)).wantError(t, 413, "larger than 1048576 bytes")
	n.upload(url, io.MultiReader(bytes.NewReader(large))).wantError(t, 413, "larger than 1048576 bytes")
	n.upload(url, http.NoBody).wantError(t, 400, "empty")
	n.server.control.Uploads.Budget, n.server.control.Uploads.Wait = quota.NewBudget(2, 1), 0
	n.server.control.Uploads.Budget.Take(n.keyID(), 1)
	n.upload(url, strings.NewReader("x")).wantError(t, 429, "too many files")
	_, other, _ := n.server.callers.keys.Create(t.Context(), "other")
	if len(n.Files()) != 0 || n.Receiving() != 0 {
		t.Errorf("files: %v", n.Files())
	}
	theirs, _ := n.link(b, filesHash, "X-API-Key", other)
	if r := n.upload(theirs, bytes.NewReader(large[:1<<20])); r.code != http.StatusNoContent {
		t.Errorf("another key, and the largest: %d %s", r.code, r.body)
	}
	if used := n.server.control.Uploads.Budget.Used(); used != 1 {
		t.Errorf("%d uploads are counted", used)
	}
}

// keyID is the id of the node's key.
func (n *node) keyID() string {
	key, err := n.server.callers.verify(n.t.Context(), n.key)
	if err != nil {
		n.t.Fatal(err)
	}
	return key.ID
}

// A client that leaves in the middle, and a runtime that fails there, leave nothing.
func TestUploadsThatBreakOffLeaveNothing(t *testing.T) {
	n := newNode(t, Config{})
	b := n.build("app")
	link, _ := n.link(b, filesHash)
	u, _ := url.Parse(link)
	for _, head := range []string{"Content-Length: 100000", "Transfer-Encoding: chunked"} {
		c, err := net.Dial("tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "PUT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n5\r\nhalf.\r\n", u.RequestURI(), u.Host, head)
		_ = c.(*net.TCPConn).CloseWrite()
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %v, %v", head, resp, err)
		}
		c.Close()
	}
	body := bytes.Repeat([]byte("x"), 1<<20)
	n.BreakFiles(1<<19, sandbox.ErrDiskFull)
	n.upload(link, bytes.NewReader(body)).wantError(t, 507, "disk")
	n.BreakFiles(10, fmt.Errorf("%w: not a tar archive", sandbox.ErrInvalid))
	n.upload(link, bytes.NewReader(body)).wantError(t, 400, "not a tar archive")
	n.BreakFiles(10, errors.New("its cause is secret"))
	n.upload(link, bytes.NewReader(body)).wantError(t, 500, "the request failed on the server")
	n.BreakFiles(0, nil)
	if len(n.Files()) != 0 || n.Receiving() != 0 || n.server.control.Uploads.Budget.Used() != 0 {
		t.Errorf("%v, %d are being read, %d are counted", n.Files(), n.Receiving(), n.server.control.Uploads.Budget.Used())
	}
	if r := n.upload(link, bytes.NewReader(body)); r.code != http.StatusNoContent || n.kept(b, filesHash) != digest(body) {
		t.Errorf("afterwards: %d %s", r.code, r.body)
	}
}

// An upload may take long, as long as bytes come.
func TestSlowUploads(t *testing.T) {
	for _, tt := range []struct {
		name   string
		pause  time.Duration
		parts  int
		status int
	}{
		{"slow", uploads.IdleTime - 2*time.Second, 10, 204},
		{"stopped", uploads.IdleTime + 2*time.Second, 2, 400},
		{"for ever", uploads.IdleTime - 2*time.Second, 70, 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt := &fakeruntime.Runtime{}
				keys := &MemoryKeys{}
				server := NewServer(Config{}, rt, keys)
				defer server.Close()
				b, err := rt.BeginBuild(t.Context(), sandbox.TemplateRequest{Name: "app"})
				if err != nil {
					t.Fatal(err)
				}
				ours, theirs := net.Pipe()
				ln := make(piped, 1)
				ln <- theirs
				srv := &http.Server{Handler: server}
				go srv.Serve(ln)
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					_, _ = fmt.Fprintf(ours, "PUT %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", server.control.Uploads.URL("", b.TemplateID, filesHash, "", time.Now()), tt.parts)
					for range tt.parts {
						time.Sleep(tt.pause)
						if _, err := io.WriteString(ours, "x"); err != nil {
							return
						}
					}
				}()
				resp, err := http.ReadResponse(bufio.NewReader(ours), nil)
				if err != nil || resp.StatusCode != tt.status {
					t.Errorf("%v, %v", resp, err)
				}
				ours.Close()
				<-sent
				srv.Close()
				if got := len(rt.Files()); (got == 1) != (tt.status == 204) || rt.Receiving() != 0 {
					t.Errorf("%d files", got)
				}
			})
		})
	}
}

// piped is a listener that accepts what is put into it.
type piped chan net.Conn

func (p piped) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (p piped) Close() error { close(p); return nil }
func (piped) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// A link leads to where the client is, also if that is a proxy.
func TestTheBaseOfALink(t *testing.T) {
	p := newPeers([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")})
	for _, tt := range []struct {
		from   string
		tls    bool
		header []string
		want   string
	}{
		{"192.0.2.1:1", false, nil, "http://api.example:3000"},
		{"192.0.2.1:1", true, nil, "https://api.example:3000"},
		{"192.0.2.1:1", false, []string{"X-Forwarded-Proto", "https"}, "https://api.example:3000"},
		{"192.0.2.1:1", true, []string{"X-Forwarded-Proto", "http"}, "http://api.example:3000"},
		{"192.0.2.1:1", false, []string{"X-Forwarded-Proto", "HTTPS, http", "X-Forwarded-Host", "x.example , y"}, "https://x.example"},
		{"127.0.0.1:1", false, []string{"X-Forwarded-Host", "[2001:db8::1]:8443"}, "http://[2001:db8::1]:8443"},
		{"192.0.2.1:1", false, []string{"X-Forwarded-Proto", "ftp", "X-Forwarded-Host", "a/b"}, "http://api.example:3000"},
		{"198.51.100.1:1", false, []string{"X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil"}, "http://api.example:3000"},
		{"@", false, []string{"X-Forwarded-Proto", "https"}, "http://api.example:3000"},
	} {
		target := "http://api.example:3000/"
		if tt.tls {
			target = "https://api.example:3000/"
		}
		r := httptest.NewRequest("GET", target, nil)
		r.RemoteAddr = tt.from
		for i := 0; i < len(tt.header); i += 2 {
			r.Header.Set(tt.header[i], tt.header[i+1])
		}
		if got := p.base(r); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

// Clients with a link get in when those without a key have taken all that is theirs, and are known by the key.
func TestAnUploadIsOneOfAKnownClient(t *testing.T) {
	seen := make(chan Access, 10)
	n := newNode(t, Config{Access: func(a Access) { seen <- a }})
	b := n.build("app")
	<-seen
	link, _ := n.link(b, filesHash)
	<-seen
	n.server.requests.strangers = quota.NewBudget(0, 0)
	n.client.CloseIdleConnections()
	if r := n.upload(link, strings.NewReader("archive")); r.code != http.StatusNoContent {
		t.Errorf("%d %s", r.code, r.body)
	}
	if a := <-seen; a.KeyID != n.keyID() || a.BytesIn != 7 || strings.Contains(a.Path, "signature") {
		t.Errorf("%+v", a)
	}
	n.client.CloseIdleConnections()
	n.upload(link+"x", strings.NewReader("archive")).wantError(t, 503, "too many requests")
}
