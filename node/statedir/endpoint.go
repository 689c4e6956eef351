package statedir

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/rundlet/rundlet/layout"
)

// Endpoint is how clients on this machine reach the daemon of a state directory.
type Endpoint struct {
	// URL is that of the API.
	URL string `json:"url"`
	// Domain has the names of sandboxes, with a port as in E2B_DOMAIN; empty if the
	// daemon serves without TLS.
	Domain string `json:"domain,omitempty"`
	// Address is where the daemon listens, for a client whose names do not resolve.
	Address string `json:"address,omitempty"`
	// Root and Bundle are files of certificates to trust, the second with those of this
	// machine; empty if every client trusts the daemon's.
	Root   string `json:"root,omitempty"`
	Bundle string `json:"bundle,omitempty"`
}

// endpointFile holds the Endpoint of the daemon that served the state directory last,
// for the commands of this machine.
func endpointFile(dirs layout.Layout) string { return filepath.Join(dirs.StateDir, "endpoint") }

// WriteEndpoint notes how to reach the daemon.
func WriteEndpoint(dirs layout.Layout, e Endpoint) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return renameio.WriteFile(endpointFile(dirs), append(data, '\n'), 0o600, renameio.WithTempDir(dirs.StateDir))
}

// ReadEndpoint returns how to reach the daemon that served the state directory last; the
// zero value if that is not known. Daemons before TLS wrote the URL alone.
func ReadEndpoint(dirs layout.Layout) (e Endpoint) {
	data, _ := os.ReadFile(endpointFile(dirs))
	text := strings.TrimSpace(string(data))
	if strings.HasPrefix(text, "{") {
		_ = json.Unmarshal(data, &e) // A damaged file is as good as none.
		return e
	}
	return Endpoint{URL: text}
}
