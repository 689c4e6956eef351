package e2b

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/conns"
	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/e2b/internal/quota"
	"github.com/rundlet/rundlet/envd"
)

// The beginning of a connection of HTTP/2, and two types of frames.
const (
	clientPreface                   = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	headersFrame, continuationFrame = 1, 9
)

// A frame is held in memory as a whole, before anything has been shown, so a
// stranger's is no larger than it has to be.
func TestFramesAreBounded(t *testing.T) {
	n := newNode(t, Config{})
	c, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	const settings, windowUpdate = 4, 8
	if _, err := io.WriteString(c, clientPreface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		t.Fatal(err)
	}
	answer := bufio.NewReader(c)
	told, window := map[uint16]uint32{}, uint32(65535) // The window of a connection is this, and what is added.
	for window == 65535 {
		var head [9]byte
		if _, err := io.ReadFull(answer, head[:]); err != nil {
			t.Fatal(err)
		}
		payload := make([]byte, binary.BigEndian.Uint16(head[1:]))
		if _, err := io.ReadFull(answer, payload); err != nil {
			t.Fatal(err)
		}
		switch head[3] {
		case settings:
			for s := payload; len(s) >= 6; s = s[6:] {
				told[binary.BigEndian.Uint16(s)] = binary.BigEndian.Uint32(s[2:])
			}
		case windowUpdate:
			window += binary.BigEndian.Uint32(payload)
		}
	}
	const initialWindow, maxFrame = 4, 5
	if told[maxFrame] != frameSize || told[initialWindow] != streamBody || window != 8<<20 {
		t.Errorf("settings: %v, a window of %d bytes", told, window)
	}
	// The first bytes of a frame of 16 KiB and one.
	if _, err := io.WriteString(c, "\x00\x40\x01\x77\x00\x00\x00\x00\x00"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(answer); err != nil {
		t.Errorf("the connection goes on after a frame that is too large: %v", err)
	}
}

// A body that HTTP/2 may hold counts as a part of its request.
func TestHeldBodiesCountAsRequests(t *testing.T) {
	for body, want := range map[string]int64{"": 0, "small": 5, strings.Repeat("a", streamBody+1): streamBody} {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		if got := heldBody(r); got != 0 {
			t.Errorf("HTTP/1: %d", got)
		}
		r.ProtoMajor = 2
		if got := heldBody(r); got != want {
			t.Errorf("%d bytes: %d", len(body), got)
		}
		if r.ContentLength = -1; heldBody(r) != streamBody {
			t.Errorf("of unknown length: %d", heldBody(r))
		}
	}
	s := NewStarting(Config{})
	r := httptest.NewRequest("POST", "/", strings.NewReader(strings.Repeat("a", 100<<10)))
	r.ProtoMajor = 2
	release, ok := s.admit(httptest.NewRecorder(), r)
	if !ok {
		t.Fatal("refused")
	}
	if used := s.requests.strangers.Used(); used < 108<<10 { // With the 8 KiB of every request.
		t.Errorf("a request with a body of 100 KiB counts as %d bytes", used)
	}
	if release(); s.requests.strangers.Used() != 0 {
		t.Errorf("%d bytes are held in the end", s.requests.strangers.Used())
	}
}

// The daemon does not hold gRPC answers of a guest that are not read.
func TestGRPCAnswersNobodyTakesAreNotHeld(t *testing.T) {
	n := newNode(t, Config{})
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: p, HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 16 << 10}}
	t.Cleanup(tr.CloseIdleConnections)
	id := n.sandbox()
	var sent atomic.Int64
	n.Listen(id, 80, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for {
			m, err := w.Write(make([]byte, 4<<10))
			if sent.Add(int64(m)); err != nil {
				return
			}
		}
	}))
	req, _ := http.NewRequestWithContext(t.Context(), "POST", n.url, nil)
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set(envd.SandboxIDHeader, id)
	req.Header.Set(envd.SandboxPortHeader, "80")
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	// Until the guest can send no more.
	for before := int64(-1); before != sent.Load(); time.Sleep(300 * time.Millisecond) {
		before = sent.Load()
	}
	// It is in buffers of the guest, of the proxy and of the stream.
	if held := sent.Load(); held > 512<<10 {
		t.Errorf("%d KiB of one answer are held", held>>10)
	}
	if _, err := io.CopyN(io.Discard, resp.Body, 1<<20); err != nil {
		t.Errorf("it does not go on: %v", err)
	}
}

// A header of HTTP/2 is counted until it is complete, and not waited for longer than
// one of HTTP/1. The requests before it on the connection change nothing.
func TestHalfAHeaderOfHTTP2IsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(Config{}, &fakeruntime.Runtime{}, &MemoryKeys{})
		s.conns.Reading = quota.NewBudget(400<<10, 300<<10)
		ln := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- s.Serve(ctx, ln) }()
		frame := func(kind, flags, stream byte, payload string) string {
			return string([]byte{0, byte(len(payload) >> 8), byte(len(payload)), kind, flags, 0, 0, 0, stream}) + payload
		}
		const pseudo = "\x82\x86\x84\x01\x09localhost"  // GET http://localhost/
		fields := strings.Repeat("\x10\x01a\x00", 1000) // literals, never indexed
		dial := func() net.Conn {
			ours, theirs := net.Pipe()
			ln.conns <- theirs
			go func() { _, _ = io.Copy(io.Discard, ours) }()
			if _, err := io.WriteString(ours, clientPreface+frame(4, 0, 0, "")+frame(headersFrame, 5, 1, pseudo)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return ours
		}
		half := dial()
		defer half.Close()
		if s.conns.Reading.Used() != 0 {
			t.Errorf("%d bytes are held behind a whole header", s.conns.Reading.Used())
		}
		for _, part := range []string{frame(headersFrame, 1, 3, pseudo+fields[:1000]), frame(continuationFrame, 0, 3, fields[1000:])} {
			if _, err := io.WriteString(half, part); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if used := s.conns.Reading.Used(); used < 200<<10 {
			t.Fatalf("half a header with a thousand fields counts as %d bytes", used)
		}
		second := dial()
		defer second.Close()
		_, err := io.WriteString(second, frame(headersFrame, 1, 3, pseudo+fields))
		synctest.Wait()
		if err == nil {
			_, err = io.WriteString(second, frame(continuationFrame, 4, 3, ""))
		}
		if !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("another of the same size: %v", err)
		}
		time.Sleep(conns.HeaderTime + time.Second)
		synctest.Wait()
		if _, err := io.WriteString(half, frame(continuationFrame, 4, 3, "")); err == nil || s.conns.Reading.Used() != 0 {
			t.Errorf("after its time: %v, %d bytes are held", err, s.conns.Reading.Used())
		}
		whole := dial()
		for _, part := range []string{frame(headersFrame, 1, 3, pseudo+fields), frame(continuationFrame, 4, 3, "")} {
			if _, err := io.WriteString(whole, part); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * conns.HeaderTime)
		_, err = io.WriteString(whole, frame(6, 0, 0, "12345678"))
		synctest.Wait() // A frame counts until it is read.
		if err != nil || s.conns.Reading.Used() != 0 {
			t.Errorf("after a whole header: %v, %d bytes are held", err, s.conns.Reading.Used())
		}
		whole.Close()
		synctest.Wait()
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
