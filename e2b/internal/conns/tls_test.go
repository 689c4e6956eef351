package conns

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/e2b/internal/quota"
)

// serveTLS returns the address of a server whose request headers table counts.
func serveTLS(t *testing.T, table *Table) string {
	t.Helper()
	ca := httptest.NewTLSServer(nil)
	defer ca.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.NotFoundHandler(), ConnContext: table.Enter, ConnState: table.Changed}
	served := make(chan error, 1)
	ln := tls.NewListener(tcp, &tls.Config{Certificates: ca.TLS.Certificates})
	go func() { served <- srv.Serve(table.Listener(ln)) }()
	t.Cleanup(func() { srv.Close(); <-served })
	return tcp.Addr().String()
}

func TestHeadersOverTLSAreBoundedByAddress(t *testing.T) {
	table := New(10)
	table.Reading = quota.NewBudget(1<<20, 50<<10)
	address := serveTLS(t, table)
	half := func() (*tls.Conn, error) {
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("a", 40<<10)+"\r\n")
		return conn, err
	}
	first, err := half()
	if err != nil {
		t.Fatal(err)
	}
	second, err := half()
	if err == nil {
		_, err = second.Read(make([]byte, 1))
	}
	if err == nil {
		t.Error("two large headers of one address are read at the same time")
	}
	if _, err := io.WriteString(first, "\r\n"); err != nil {
		t.Fatal(err)
	}
	if resp, err := http.ReadResponse(bufio.NewReader(first), nil); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("the first is answered %v, %v", resp, err)
	}
}

func TestPlainHTTPToTLSIsToldSo(t *testing.T) {
	address := serveTLS(t, New(10))
	for _, method := range []string{"GET", "PUT", "POST", "HEAD", "DELETE", "PATCH", "OPTIONS"} {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+"/sandboxes", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 400 || method != "HEAD" && !strings.Contains(string(text), "HTTPS") {
			t.Errorf("%s: %s %q", method, resp.Status, text)
		}
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "garbage garbage"); err != nil {
		t.Fatal(err)
	}
	if answer, _ := io.ReadAll(conn); strings.Contains(string(answer), "HTTP") {
		t.Errorf("garbage is answered %q", answer)
	}
}
