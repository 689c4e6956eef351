package e2e

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

// dirtying makes a process that holds memory which cannot be compressed away, so
// that saving it takes a while.
const dirtying = `cat > ~/dirty.py <<'END'
import os, time
held = [os.urandom(1 << 20) for _ in range(256)]
open(os.path.expanduser("~/dirty"), "w").close()
time.sleep(1e6)
END
setsid python3 ~/dirty.py < /dev/null > /dev/null 2>&1 &
until [ -e ~/dirty ]; do sleep 0.1; done`

// TestACrashInTheMiddleOfASaveKeepsTheSandbox kills the daemon not between two
// steps, but while the user-space kernel writes the memory of a sandbox.
func TestACrashInTheMiddleOfASaveKeepsTheSandbox(t *testing.T) {
	for name, save := range map[string]func(ctx context.Context, api client.API, id string){
		"snapshot": func(ctx context.Context, api client.API, id string) { api.Snapshot(ctx, id, "") },
		"pause":    func(ctx context.Context, api client.API, id string) { api.Pause(ctx, id, true) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			sb, err := n.api.Create(t.Context(), "base", live)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := run(t.Context(), n.api, sb, dirtying); err != nil {
				t.Fatal(err)
			}
			c := startCounter(t, n.api, sb)
			var saving sync.WaitGroup
			saving.Go(func() { save(t.Context(), n.api, sb.ID) }) // It breaks off with the daemon.
			awaitFor(t, time.Minute, func() ([]string, error) {
				if inv, err := takeInventory(n.dir); err != nil || len(inv.pending) == 0 {
					return []string{"nothing is being saved"}, err
				}
				return nil, nil
			})
			n.crash(t)
			saving.Wait()
			if reason, ok := killedReasons(t, n.dir)[sb.ID]; ok {
				t.Fatalf("the sandbox was ended: %s", reason)
			}
			if _, _, err := n.api.Connect(t.Context(), sb.ID, live); err != nil {
				t.Fatalf("the sandbox is lost: %v", err)
			}
			if err := c.advance(t.Context(), n.api); err != nil {
				t.Error(err)
			}
			n.checkConsistent(t)
			n.finish(t)
		})
	}
}
