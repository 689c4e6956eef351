package e2b

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/sandbox"
)

// What a server breaks off at its end is logged before Serve returns, whatever it was: the log may be closed then.
func TestWhatTheEndBreaksOffIsLogged(t *testing.T) {
	cfg, j := logging(Config{Grace: time.Minute})
	keys := &MemoryKeys{}
	_, key, _ := keys.Create(t.Context(), "test")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rt := &fakeruntime.Runtime{}
	server := NewServer(cfg, rt, keys)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, ln) }()
	n := &node{Runtime: rt, t: t, url: "http://" + ln.Addr().String(), key: key, server: server}
	sb, err := rt.Create(t.Context(), sandbox.CreateRequest{Template: "base"})
	if err != nil {
		t.Fatal(err)
	}
	n.tcp(sb.ID, 22, echo)
	for range 50 {
		n.dig(sb.ID+":22", n.withKey(), "first")
	}
	cancel()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	if got := len(j.ended); got != 50 {
		t.Errorf("%d of 50 requests are logged", got)
	}
}
