package e2b

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// mirror answers with all that a program in a sandbox sees of a request.
func mirror() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		dump, _ := httputil.DumpRequest(r, false)
		fmt.Fprintf(w, "%s%s\n%v\n", dump, body, r.Trailer)
	})
}

// ask sends the lines of a request on a new connection.
func (n *node) ask(target string, lines ...string) (code int, body string) {
	n.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		n.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, target+" HTTP/1.1\r\n"+strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		n.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		n.t.Fatalf("%s %q: %v", target, lines, err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// guarded is a sandbox with both tokens, in the form of real ones.
func (n *node) guarded(token, traffic string) string {
	id := n.sandbox()
	n.Edit(id, func(sb *sandbox.Sandbox) { sb.EnvdAccessToken, sb.TrafficAccessToken = token, traffic })
	n.Listen(id, 80, mirror())
	n.Listen(id, envd.Port, mirror())
	return id
}

func TestKeysNeverReachGuests(t *testing.T) {
	n := newNode(t, Config{})
	token, traffic, other := strings.Repeat("a", 64), strings.Repeat("b", 64), strings.Repeat("c", 64)
	id := n.guarded(token, traffic)
	_, removed := NewKey("", time.Now())
	var escaped strings.Builder
	for _, c := range []byte(n.key) {
		fmt.Fprintf(&escaped, "%%%02x", c)
	}
	basic := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	ofURLs := base64.URLEncoding.EncodeToString([]byte("\xff\xff\xff:" + n.key))
	forms := map[string][]string{
		"X-API-Key":                         {"X-API-Key: " + n.key},
		"in lower case":                     {"x-api-key: " + n.key},
		"in upper case, with spaces":        {"X-API-KEY:   " + n.key + "  "},
		"the second":                        {"X-API-Key: none", "X-API-Key: " + n.key},
		"the third, in another spelling":    {"X-API-Key: none", "x-API-key: also", "X-Api-KEY: " + n.key},
		"in a list":                         {"X-API-Key: none, " + n.key},
		"of another server":                 {"X-API-Key: " + removed},
		"of another form":                   {"X-API-Key: e2b_short"},
		"bearer":                            {"Authorization: Bearer " + n.key},
		"bearer, in lower case":             {"authorization: bearer " + n.key},
		"a second Authorization":            {"Authorization: Basic " + basic("a:b"), "Authorization: Bearer " + n.key},
		"no scheme":                         {"Authorization: " + n.key},
		"basic, as user":                    {"Authorization: Basic " + basic(n.key+":")},
		"basic, behind a tab":               {"Authorization: Basic\t" + basic("u:"+n.key)},
		"basic, in the alphabet of URLs":    {"Authorization: Basic " + ofURLs},
		"basic, as password":                {"Authorization: basic " + basic("user:"+n.key)},
		"for a proxy":                       {"Proxy-Authorization: Bearer " + n.key},
		"hop by hop":                        {"Connection: X-Secret", "X-Secret: " + n.key},
		"a cookie":                          {"Cookie: E2B_API_KEY=" + n.key},
		"a cookie among others":             {"Cookie: a=b; key=" + n.key + "; c=d"},
		"a cookie, encoded":                 {"Cookie: key=" + escaped.String()},
		"a subprotocol":                     {"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Protocol: v1, " + n.key},
		"an upgrade":                        {"Connection: Upgrade", "Upgrade: " + n.key},
		"a separate header":                 {"X-My-Key: <" + n.key + ">"},
		"a name":                            {n.key + ": 1"},
		"where it came from":                {"Referer: https://x/?key=" + n.key},
		"where it came from, encoded":       {"Referer: https://x/?key=" + url.QueryEscape(n.key) + "&%zz=" + escaped.String()},
		"in upper case, which is not valid": {"X-My-Key: " + strings.ToUpper(n.key)},
		"X-Forwarded-For":                   {"X-Forwarded-For: " + n.key},
		"a trailer":                         {"Transfer-Encoding: chunked", "Trailer: X-API-Key", "", "0", "X-API-Key: " + n.key},
		"the token of another sandbox":      {"X-Access-Token: " + other},
		"the traffic token, twice":          {"E2b-Traffic-Access-Token: " + traffic},
		"the traffic token elsewhere":       {"X-Forwarded-Token: " + traffic},
	}
	secrets := []string{n.key, strings.ToUpper(n.key), removed, "e2b_short", other, traffic, escaped.String(), basic(n.key + ":"), basic("user:" + n.key), basic("u:" + n.key), ofURLs}
	seen := func(t *testing.T, body string) {
		for _, secret := range secrets {
			if strings.Contains(strings.ToLower(body), strings.ToLower(secret)) {
				t.Errorf("the guest saw %s in:\n%s", secret, body)
			}
		}
	}
	for port, own := range map[string]string{"80": "", "49983": token} {
		base := []string{"Host: " + port + "-" + id + ".sb.test", "E2b-Traffic-Access-Token: " + traffic}
		if own != "" {
			base = append(base, "X-Access-Token: "+own)
		}
		for name, lines := range forms {
			t.Run(name+", port "+port, func(t *testing.T) {
				n.t = t
				code, body := n.ask("GET /x", append(base[:len(base):len(base)], lines...)...)
				if code != 200 || !strings.Contains(body, "GET /x HTTP/1.1") {
					t.Fatalf("%d %s", code, body)
				}
				if own != "" && !strings.Contains(body, own) {
					t.Errorf("the agent did not see its own token:\n%s", body)
				}
				seen(t, body)
			})
		}
		for _, target := range []string{"?key=" + n.key, "?a=b&key=" + n.key + "&c=d", "?key=" + escaped.String() + "%zz", "?" + n.key} {
			t.Run("query, port "+port, func(t *testing.T) {
				n.t = t
				code, body := n.ask("GET /x"+target, base...)
				if code != 200 || strings.Contains(target, "a=b") && !strings.Contains(body, "a=b&c=d") {
					t.Errorf("%d %s", code, body)
				}
				seen(t, body)
			})
		}
		for _, target := range []string{"GET /" + n.key, "GET /" + escaped.String() + "/x"} {
			if code, body := n.ask(target, base...); code != 400 || !strings.Contains(body, "address of the request contains an API key") {
				t.Errorf("%s: %d %s", target, code, body)
			}
		}
		if code, body := n.ask("GET http://user:"+n.key+"@"+port+"-"+id+".sb.test/x", base...); code != 200 {
			t.Errorf("absolute form: %d %s", code, body)
		} else {
			seen(t, body)
		}
	}
	if code, body := n.ask("GET /x", "Host: 80-"+id+"."+n.key+".test", "E2b-Traffic-Access-Token: "+traffic); code != 400 {
		t.Errorf("in the host: %d %s", code, body)
	}
	if _, body := n.ask("GET /x", "Host: 80-"+id+".sb.test", "E2b-Traffic-Access-Token: "+traffic, "X-Access-Token: "+token, "X-Copy: "+token); strings.Contains(body, token) {
		t.Errorf("another port saw the agent's token:\n%s", body)
	}
	if _, body := n.ask("GET /x", "Host: 49983-"+id+".sb.test", "X-Access-Token: "+token, "E2b-Traffic-Access-Token: wrong"); !strings.Contains(body, "GET /x") || strings.Contains(body, "wrong") {
		t.Errorf("the agent saw what was sent as the traffic token:\n%s", body)
	}
}

// What is between a client and a service passes as it is.
func TestOtherSecretsReachGuests(t *testing.T) {
	n := newNode(t, Config{})
	id := n.guarded(strings.Repeat("a", 64), "")
	for _, line := range []string{
		"Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.e30.x", "Authorization: Basic dXNlcjpwYXNzd29yZA==", "Authorization: Token 4f3c",
		"X-Api-Key: sk-other", "X-Access-Token: of-the-service", "Cookie: session=e2b_not_a_key; a=b%20c", "X-Digest: " + strings.Repeat("d", 64),
		"X-Note: e2b_0123456789abcdef", "Authorization: Bearer e2b_" + strings.Repeat("g", 40),
	} {
		code, body := n.ask("GET /x?api_key=sk-other&digest="+strings.Repeat("d", 64), "Host: 80-"+id+".sb.test", line)
		if code != 200 || !strings.Contains(body, line+"\r\n") || !strings.Contains(body, "/x?api_key=sk-other&digest=ddd") {
			t.Errorf("%s: %d\n%s", line, code, body)
		}
	}
}

// The form by which keys are recognized is that of the keys that are made.
func TestNewKeysHaveTheFormThatIsTakenOut(t *testing.T) {
	n := newNode(t, Config{})
	id := n.guarded("", "")
	for range 100 {
		_, key := NewKey("", time.Now())
		if _, body := n.ask("GET /x", "Host: 80-"+id+".sb.test", "X-Any: "+key); strings.Contains(body, key) {
			t.Fatalf("%s passed", key)
		}
	}
}
