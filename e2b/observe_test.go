package e2b

import (
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/envd"
)

func TestCommandsAreObservedOnTheirWayThrough(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	n.Listen(id, envd.Port, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/connect+json")
		for _, m := range []string{`{"event":{"start":{"pid":1}}}`, `{"event":{"data":{"stdout":"aGkK"}}}`, `{"event":{"end":{}}}`} {
			w.Write(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(m))))
			io.WriteString(w, m)
			w.(http.Flusher).Flush()
		}
	}))
	req, _ := http.NewRequestWithContext(t.Context(), "POST", n.url+"/process.Process/Start", strings.NewReader("x"))
	req.Header.Set(envd.SandboxIDHeader, id)
	req.Header.Set(envd.SandboxPortHeader, "49983")
	resp, err := n.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if n.Started.Load() != 1 || n.Printed.Load() != 1 {
		t.Errorf("%d starts and %d first outputs", n.Started.Load(), n.Printed.Load())
	}
}
