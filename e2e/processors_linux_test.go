package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/layout"
)

// TestAKeyThatTakesTheProcessorsYieldsToOneThatDoesLittle looks at what the kernel was
// asked for; how long a client waits then is its choice.
func TestAKeyThatTakesTheProcessorsYieldsToOneThatDoesLittle(t *testing.T) {
	srv, good, dir := newServer(t)
	evil := client.API{URL: good.URL, Key: newKey(t, dir)}
	groups := func() (idle, all int) {
		instance := layout.Layout{StateDir: filepath.Join(dir, "state")}.Instance()
		for _, group := range groupsOf(instance) {
			text, err := os.ReadFile(filepath.Join(group, "cpu.idle"))
			if err != nil || filepath.Base(group) == "rundlet-"+instance {
				continue
			}
			if strings.TrimSpace(string(text)) == "1" {
				idle++
			}
			all++
		}
		return idle, all
	}
	busy, stop := context.WithCancel(t.Context())
	defer stop()
	keep := func(api client.API, script string) client.Sandbox {
		sb, err := api.Create(t.Context(), "base", live)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = api.Agent(sb).Run(busy, client.Command{Args: []string{"/bin/bash", "-c", script}, Stdout: io.Discard, Stderr: io.Discard})
		}()
		return sb
	}
	little := keep(good, `while sleep 0.05; do :; done`)
	if _, all := groups(); all == 0 {
		t.Skip("this kernel has no idle groups (Linux 5.15), or they are elsewhere")
	}
	taker := keep(evil, `while :; do :; done & while :; do :; done`)
	awaitGroups := func(when string, want int) {
		awaitFor(t, 2*time.Minute, func() ([]string, error) {
			if idle, all := groups(); idle != want {
				return []string{fmt.Sprintf("%s %d of %d groups are idle, want %d", when, idle, all, want)}, nil
			}
			return nil, nil
		})
	}
	awaitGroups("while one key takes all", 1)
	if err := good.Kill(t.Context(), little.ID); err != nil {
		t.Fatal(err)
	}
	awaitGroups("when it is alone", 0)
	if err := evil.Kill(t.Context(), taker.ID); err != nil {
		t.Fatal(err)
	}
	srv.stop(t)
}
