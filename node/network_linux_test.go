package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/network"
	"github.com/rundlet/rundlet/sandbox"
)

// The authority stays the same, an ephemeral node has another, and a node without one works.
func TestTheEgressAuthorityOfANode(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	open := func(state string, ephemeral bool) (authority string, certifies bool) {
		a := &assembly{Node: &Node{Dirs: layout.Layout{StateDir: filepath.Join(dir, state)}}, runDir: t.TempDir(),
			cfg: Config{Ephemeral: ephemeral, Log: slog.New(slog.NewTextHandler(&log, nil))}}
		certify := a.openEgress()
		if certify == nil {
			return a.authority, false
		}
		leaf, err := certify("a.example")
		return a.authority, err == nil && leaf.Leaf.VerifyHostname("a.example") == nil
	}
	first, works := open("state", false)
	second, again := open("state", false)
	other, third := open("state", true)
	another, fourth := open("state", true)
	if first == "" || second != first || other == first || another == other || !works || !again || !third || !fourth || log.Len() > 0 {
		t.Fatalf("authorities %q, %q, %q, %q; log %s", first, second, other, another, &log)
	}
	if err := os.WriteFile(filepath.Join(dir, "full"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if none, works := open("full", false); none != "" || works || !strings.Contains(log.String(), "no authority for header rules") {
		t.Errorf("where no file can be made: %q, log %s", none, &log)
	}
}

// A proxy that cannot be checked now is not a mistake of the client.
func TestTheFaultOfAProxy(t *testing.T) {
	var retry *sandbox.RetryError
	if err := proxyFault(t.Context(), fmt.Errorf("%w: private", network.ErrInvalid)); !errors.Is(err, sandbox.ErrInvalid) {
		t.Errorf("%v", err)
	}
	if err := proxyFault(t.Context(), errors.New("no name server answered")); !errors.As(err, &retry) || retry.After <= 0 {
		t.Errorf("%v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := proxyFault(gone, gone.Err()); !errors.Is(err, context.Canceled) || errors.As(err, &retry) {
		t.Errorf("the client has gone: %v", err)
	}
	if err := proxyFault(t.Context(), nil); err != nil {
		t.Error(err)
	}
}
