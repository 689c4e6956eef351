package e2b

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// TestWhoOnlySendsLearnsThatTheProgramWentAway: on a connection that speaks another
// protocol nothing is an answer to all that was sent.
func TestWhoOnlySendsLearnsThatTheProgramWentAway(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	n.Listen(id, 80, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		c.Close()
	}))
	c, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: 80-%s.e2b.test\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", id)
	// Endless, if everything is taken.
	const most = 1 << 30
	if sent, err := io.CopyN(c, zeros{}, most); sent == most {
		t.Errorf("%d bytes were taken for a program that is gone", sent)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

// zeros is an endless stream of them.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// A connection that is silent has small buffers, and carries much all the same.
func TestMuchComesOverAnUpgradedConnection(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	n.tcp(id, 80, func(c *net.TCPConn) {
		in := bufio.NewReader(c)
		if _, err := http.ReadRequest(in); err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		_, _ = io.Copy(c, in)
	})
	c, _ := n.raw("GET / HTTP/1.1\r\nHost: 80-" + id + ".e2b.test\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
	for _, size := range []int{1, 5000, 3 << 20, 10} {
		sent := make([]byte, size)
		_, _ = rand.Read(sent)
		go func() { _, _ = c.Write(sent) }()
		got := make([]byte, size)
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%d bytes: %v", size, err)
		}
	}
}
