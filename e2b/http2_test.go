package e2b

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b/dataplane"
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
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	const settings, first = 4, 9
	// The preface, SETTINGS, and the first bytes of a frame of 16 KiB and one.
	if _, err := io.WriteString(c, http2Preface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00"+"\x00\x40\x01\x77\x00\x00\x00\x00\x00"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(bufio.NewReader(c))
	if err != nil || len(answer) < first || answer[3] != settings {
		t.Fatalf("the connection goes on after a frame that is too large: %v, %q", err, answer)
	}
	told := map[uint16]uint32{}
	for s := answer[first : first+int(answer[1])<<8+int(answer[2])]; len(s) >= 6; s = s[6:] {
		told[binary.BigEndian.Uint16(s)] = binary.BigEndian.Uint32(s[2:])
	}
	const initialWindow, maxFrame = 4, 5
	if told[maxFrame] != frameSize || told[initialWindow] != streamBody {
		t.Errorf("settings: %v", told)
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
}

// What a guest answers by gRPC and nobody takes is not held by the daemon.
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
	req.Header.Set(dataplane.HeaderSandboxID, id)
	req.Header.Set(dataplane.HeaderSandboxPort, "80")
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
