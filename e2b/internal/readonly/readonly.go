// Package readonly says which requests may change what is in a sandbox, and refuses them while its checkout is not up to date. It
// may import envd and e2b/internal/refusal; only packages in and below e2b import it.
package readonly

import (
	"encoding/binary"
	"encoding/json"
	"net/http"
	"path"
	"strings"

	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/envd"
)

// calls are those of the agent that change nothing in the guest. A test compares them with the generated protocol, whose packages
// would be most of the weight of this one.
var calls = map[string]bool{
	"/filesystem.Filesystem/Stat": true, "/filesystem.Filesystem/ListDir": true,
	"/filesystem.Filesystem/WatchDir": true, "/filesystem.Filesystem/CreateWatcher": true,
	"/filesystem.Filesystem/GetWatcherEvents": true, "/filesystem.Filesystem/RemoveWatcher": true,
	"/process.Process/List": true, "/process.Process/Connect": true,
}

// paths are those of the agent that a safe method only reads.
var paths = map[string]bool{envd.HealthPath: true, envd.MetricsPath: true, envd.EnvsPath: true, envd.FilesPath: true}

// Allows reports whether a request to a port changes nothing in its sandbox, as far as HTTP says. Everything that is not known
// to be a read is a write: a process may write, and so may a client that speaks to a program over a tunnel or a WebSocket.
func Allows(r *http.Request, port uint16, tunnel bool) bool {
	if tunnel {
		return false
	}
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
	if port != envd.Port {
		return safe && r.Header.Get("Upgrade") == ""
	}
	clean := path.Clean("/" + r.URL.Path) // The agent answers another path with a redirect to that one.
	return r.Method == http.MethodOptions || calls[clean] || safe && paths[clean]
}

// connectError is an error of the Connect protocol.
type connectError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Refuse refuses a write, to clients of Connect in their protocol: the SDKs show their users the message of such an error, and of
// another one the status only.
func Refuse(w http.ResponseWriter, r *http.Request, id string, port uint16, e *refusal.Error) {
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	stream := media == "application/connect+json" || media == "application/connect+proto"
	if port != envd.Port || !stream && r.Header.Get("Connect-Protocol-Version") == "" {
		e.WriteTo(w, r, id, port)
		return
	}
	body, _ := json.Marshal(connectError{"failed_precondition", e.Message}) // It has only text.
	status := e.Status
	if stream {
		end, _ := json.Marshal(map[string]json.RawMessage{"error": body})
		body = append(binary.BigEndian.AppendUint32([]byte{2}, uint32(len(end))), end...) // 2 is the end of a stream.
		status = http.StatusOK
	} else {
		media = "application/json"
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", media)
	w.WriteHeader(status)
	_, _ = w.Write(body) // The client may be gone.
}
