package e2e

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/websocket"
)

// greeterPort is where the internet speaks first; see greet.
const greeterPort = 2525

// pages are those of a server in the tests' internet: a text, and what programs need that move more.
func pages(text string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) })
	mux.HandleFunc("/away/{what}", func(w http.ResponseWriter, r *http.Request) { // What arrives here may be read here.
		http.Redirect(w, r, "http://"+forbiddenHost+"/leak-"+r.PathValue("what"), http.StatusFound)
	})
	mux.HandleFunc("/connection", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) })
	mux.HandleFunc("/bytes/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", r.PathValue("n"))
		_, _ = io.Copy(w, someBytes(n))
	})
	mux.HandleFunc("/key", func(w http.ResponseWriter, r *http.Request) { // The key itself would be in the guest then.
		fmt.Fprintf(w, "%s %s", sum(strings.NewReader(strings.Join(r.Header["X-Key"], ","))), r.Proto)
	})
	mux.HandleFunc("/sum", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, sum(r.Body)) })
	mux.Handle("/websocket", websocket.Server{Handler: func(c *websocket.Conn) { _, _ = io.Copy(c, c) }})
	return mux
}

// someBytes are always the same.
func someBytes(n int64) io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{}), n) }

// sum is the SHA-256 of what can be read.
func sum(r io.Reader) string {
	hash := sha256.New()
	if _, err := io.Copy(hash, r); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%x", hash.Sum(nil))
}

// greet serves, in the namespace of the calling thread, a protocol in which the server speaks first, and says the sum of what it got
// when the client has ended its half.
func greet(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp4", ":"+strconv.Itoa(greeterPort))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				fmt.Fprint(c, "220 ready\r\n")
				fmt.Fprint(c, sum(c))
			}()
		}
	}()
}
