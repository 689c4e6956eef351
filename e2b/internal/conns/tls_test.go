package conns

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

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
	srv := &http.Server{Handler: http.NotFoundHandler(), ConnContext: table.Enter, ConnState: table.Changed, ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	config := &tls.Config{Certificates: ca.TLS.Certificates}
	go func() { served <- srv.Serve(table.Listener(tcp, config)) }()
	t.Cleanup(func() {
		srv.Close() // It closes the connections, and does not wait until all of that is seen.
		<-served
		for deadline := time.Now().Add(time.Minute); table.Reading.Used() > 0; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Errorf("%d bytes are held when no connection is left", table.Reading.Used())
				return
			}
		}
	})
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
	awaitRead(t, table, 40<<10-freeReading)
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

// awaitRead waits until so many bytes are held of what a first client has sent: a second one could be read before it otherwise.
func awaitRead(t *testing.T, table *Table, held int64) {
	t.Helper()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for deadline := time.After(time.Minute); table.Reading.Used() < held; {
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("%d bytes are held of the first client, not %d", table.Reading.Used(), held)
		}
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

// What TLS keeps of a handshake that is not complete is counted, and given back.
func TestHandshakesAreBoundedByAddress(t *testing.T) {
	table := New(10)
	table.Reading = quota.NewBudget(1<<20, 40<<10)
	address := serveTLS(t, table)
	// A ClientHello of 64 KiB in records of 16, without its end.
	record := append([]byte{22, 3, 1, 0x40, 0}, make([]byte, 16<<10)...)
	first := append([]byte{22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xf0}, make([]byte, 16<<10-4)...)
	begin := func() (net.Conn, error) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		for _, data := range [][]byte{first, record, record, record[:100]} {
			if _, err := conn.Write(data); err != nil {
				return conn, err
			}
		}
		return conn, nil
	}
	if _, err := begin(); err != nil {
		t.Fatal(err)
	}
	awaitRead(t, table, 48<<10-freeRecord)
	second, err := begin()
	if err == nil {
		_, err = second.Read(make([]byte, 1))
	}
	if err == nil {
		t.Error("two large handshakes of one address are under way at the same time")
	}
	third, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatalf("an ordinary client: %v", err)
	}
	defer third.Close()
	held := table.Reading.Used()
	if _, err := io.WriteString(third, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if resp, err := http.ReadResponse(bufio.NewReader(third), nil); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("an ordinary client: %v, %v", resp, err)
	}
	if now := table.Reading.Used(); now > held {
		t.Errorf("%d bytes are held for an ordinary client", now-held)
	}
}

// The count goes on after the first data: TLS keeps the begin of a message, too, that comes
// later and never ends.
func TestWhatComesAfterDataIsCountedToo(t *testing.T) {
	budget := quota.NewBudget(1<<20, 10<<10)
	near, far := net.Pipe()
	defer far.Close()
	c := &handshakeConn{Conn: near, budget: budget, owner: "a"}
	defer c.Close()
	send := func(n int) error {
		go func() { _, _ = far.Write(make([]byte, n)) }()
		_, err := io.ReadFull(c, make([]byte, n))
		return err
	}
	for range 100 { // An upload: each record is delivered.
		if err := send(20 << 10); err != nil {
			t.Fatal(err)
		}
		c.decrypted()
	}
	if budget.Used() != 0 {
		t.Errorf("%d bytes are held of what was delivered", budget.Used())
	}
	if err := send(30 << 10); err != nil || budget.Used() != 6<<10 {
		t.Errorf("of what is kept %d bytes are held, %v", budget.Used(), err)
	}
	if err := send(30 << 10); err == nil {
		t.Error("it may keep as much as it likes")
	}
	if budget.Used() != 0 {
		t.Errorf("%d bytes are held of a connection that was closed", budget.Used())
	}
}
