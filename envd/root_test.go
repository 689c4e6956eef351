package envd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
)

func body(text string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
}

// closes answers with a text, and then with the end of the connection.
func closes(text string) *guest {
	return newGuest(func(c net.Conn) {
		io.WriteString(c, text)
		c.Close()
	})
}

func TestRootReadsWhatTheAgentSays(t *testing.T) {
	want := RootState{Lost: []string{"a process"}, LayerBytes: 5, LargestBytes: 3,
		Extras: []Extra{{Path: []byte("/p\xff"), Mode: 0o10644, UID: 1, GID: 2, Device: 3, Modified: -4, Attributes: map[string][]byte{"user.a": []byte("\x00\xff")}}}}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	g := answer(body(string(text)))
	got, err := Root(t.Context(), g.dial, "token", 7)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	g.wantClosed(t)
	if req := <-g.requests; req.Method != "GET" || req.URL.String() != RootPath+"?least=7" || req.Header.Get("X-Control-Token") != "token" || !req.Close {
		t.Errorf("%s %s %v", req.Method, req.URL, req.Header)
	}
}

func TestRootRefusesOtherAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		reply  string
		is     error
		status int
	}{
		"too long":       {body(`{"lost":["` + strings.Repeat("x", maxRootReply) + `"]}`), ErrUnreachable, 0},
		"half":           {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", ErrUnreachable, 0},
		"something else": {body("<html>"), ErrUnreachable, 0},
		"nothing":        {"", ErrUnreachable, 0},
		"no token":       {"HTTP/1.1 401 Unauthorized\r\n\r\n{\"message\":\"invalid control token\"}", ErrUnauthorized, 401},
		"an older agent": {"HTTP/1.1 404 Not Found\r\n\r\n404 page not found\n", nil, 404},
	} {
		_, err := Root(t.Context(), closes(c.reply).dial, "token", 0)
		var status *StatusError
		if err == nil || c.is != nil && !errors.Is(err, c.is) || errors.As(err, &status) != (c.status != 0) || status != nil && status.Status != c.status {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	hangs := newGuest(func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
		cancel()
	})
	if _, err := Root(ctx, hangs.dial, "token", 7); !errors.Is(err, context.Canceled) {
		t.Errorf("an agent that hangs: %v", err)
	}
}

func TestRootTimesArePassedOn(t *testing.T) {
	text := strings.Repeat("times", 500_000) // More than a reply may have elsewhere.
	var got bytes.Buffer
	g := answer(body(text))
	if err := RootTimes(t.Context(), g.dial, "token", &got); err != nil || got.String() != text {
		t.Errorf("%d bytes of %d, %v", got.Len(), len(text), err)
	}
	if req := <-g.requests; req.URL.Path != RootTimesPath || req.Header.Get("X-Control-Token") != "token" {
		t.Errorf("%s %v", req.URL, req.Header)
	}
	if err := RootTimes(t.Context(), closes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ntimes\r\n").dial, "token", io.Discard); err == nil {
		t.Error("times that break off are taken for all")
	}
	full := errors.New("the disk is full")
	if err := RootTimes(t.Context(), answer(body(text)).dial, "token", failing{full}); !errors.Is(err, full) {
		t.Errorf("a writer that fails: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestRestoreExtrasSendsThem(t *testing.T) {
	want := []Extra{{Path: []byte("/p\xff"), Mode: 0o10644, Attributes: map[string][]byte{"user.a": {0xff}}}}
	g := answer(done)
	if err := RestoreExtras(t.Context(), g.dial, "token", want); err != nil {
		t.Fatal(err)
	}
	var got ExtrasRequest
	req := <-g.requests
	if err := json.Unmarshal([]byte(<-g.bodies), &got); err != nil || !reflect.DeepEqual(got.Extras, want) || req.Method != "POST" || req.URL.Path != RootPath {
		t.Errorf("%s %s: %+v, %v", req.Method, req.URL, got, err)
	}
}
