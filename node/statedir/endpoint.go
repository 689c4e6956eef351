package statedir

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/rundlet/rundlet/layout"
)

// endpointFile holds the URL of the daemon that served the state directory last,
// for the commands of this machine.
func endpointFile(dirs layout.Layout) string { return filepath.Join(dirs.StateDir, "endpoint") }

// WriteEndpoint notes the URL of the API of the daemon.
func WriteEndpoint(dirs layout.Layout, url string) error {
	return os.WriteFile(endpointFile(dirs), []byte(url+"\n"), 0o600)
}

// ReadEndpoint returns the URL of the daemon that served the state directory last;
// empty if it is not known.
func ReadEndpoint(dirs layout.Layout) string {
	b, _ := os.ReadFile(endpointFile(dirs))
	return strings.TrimSpace(string(b))
}
