package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node/keys"
)

// Options are the flags that every command has.
type Options struct {
	// Dirs are the directories that were given.
	Dirs layout.Layout
	// JSON asks for output for programs.
	JSON bool

	notEntered error // Why "rundlet doctor" does not run in the namespaces of the user's node.
}

// Layout resolves the directories and creates them.
func (o *Options) Layout() (layout.Layout, error) { return o.LayoutLogging(slog.Default()) }

// LayoutLogging is Layout with another log for warnings.
func (o *Options) LayoutLogging(log *slog.Logger) (layout.Layout, error) {
	l, err := layout.Resolve(o.Dirs, os.Getenv)
	if err != nil {
		return l, err
	}
	return l, l.Make(log)
}

// API returns a client of the server named by the environment, as for an SDK, or of
// this host's own.
func (o *Options) API() (client.API, error) {
	url, domain, key := os.Getenv("E2B_API_URL"), os.Getenv("E2B_DOMAIN"), os.Getenv("E2B_API_KEY")
	if url != "" && key != "" {
		return client.API{URL: url, Key: key}, nil
	}
	dirs, err := o.Layout()
	if err != nil {
		return client.API{}, err
	}
	if key == "" {
		if key = keys.ReadDefault(dirs); key == "" {
			return client.API{}, errors.New("no API key found on this host: start \"rundlet serve\" once, or set E2B_API_KEY")
		}
	}
	api := client.API{URL: url}
	switch e := Endpoint(dirs); {
	case url != "":
	case domain != "" && domain != e.Domain:
		api.URL = "https://sandbox." + domain
	default:
		if api, err = clientOf(e); err != nil {
			return client.API{}, err
		}
	}
	api.Key = key
	return api, nil
}

// Unreachable explains the most common client error.
func Unreachable(api client.API, err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("no server at %s; start one with \"rundlet serve\"", api.URL)
	}
	return err
}

// ExitError carries the exit code of a command in a guest out of ours.
type ExitError int

func (e ExitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// PrintJSON prints a value for programs and people.
func PrintJSON(w io.Writer, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	return errors.Join(err, printJSON(w, text))
}

// PrintJSONLine prints a value in one line.
func PrintJSONLine(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	return errors.Join(err, printJSON(w, text))
}
