//go:build linux

// Package generation notifies the guest's programs that they continue in a copy of
// their machine, so that they can make new what must not be shared with the
// other copies: a file that changes, and hooks that are run. It may import
// agent/reaper and agent/atomicfile; only agent imports it.
package generation

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/rundlet/rundlet/agent/atomicfile"
	"github.com/rundlet/rundlet/agent/reaper"
)

const (
	// Dir is the agent's directory in the guest; every user may read it.
	Dir = "/run/rundlet"
	// File holds the generation, one line. It is replaced as a whole, by a
	// rename, so that a watch on Dir and a look from time to time both notice.
	File = Dir + "/generation"
	// EnvironmentFile holds the variables of the sandbox as JSON, for programs that a template has started before there was a
	// sandbox. It is there when there are such programs, and replaced before the generation is. It belongs to the default user.
	EnvironmentFile = Dir + "/environment"
	// HookDir holds the hooks.
	HookDir = "/etc/rundlet/restored.d"
)

// Notifier announces restores. Its methods are safe for concurrent use.
type Notifier struct {
	root    string
	reaper  *reaper.Reaper
	console io.Writer
	// hookTimeout is for one hook, hooksTimeout for all of them.
	hookTimeout, hooksTimeout time.Duration

	// mu guards the file, too.
	mu   sync.Mutex
	stop context.CancelFunc
	done chan struct{}
}

// New returns a Notifier that runs hooks with r and writes what failed to
// console. Root is prepended to Dir and HookDir; it is empty in a guest.
func New(root string, r *reaper.Reaper, console io.Writer) *Notifier {
	done := make(chan struct{})
	close(done)
	return &Notifier{
		root: root, reaper: r, console: console, hookTimeout: hookTimeout, hooksTimeout: hooksTimeout,
		stop: func() {}, done: done,
	}
}

// Begin writes the first generation, so that programs find something to watch.
func (n *Notifier) Begin() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, err := n.replace()
	return err
}

// Restored writes a new generation and begins to run the hooks, with env above
// the little that every process has. It does not wait for them; those of an
// earlier restore that still run are killed.
func (n *Notifier) Restored(env map[string]string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	id, err := n.replace()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	n.stop()
	before := n.done
	n.stop, n.done = cancel, done
	go func() {
		defer close(done)
		defer cancel()
		<-before
		n.runAll(ctx, hookEnv(env, id))
	}()
	return err
}

// Close kills the hooks that run, and waits for them.
func (n *Notifier) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stop()
	<-n.done
}

// replace makes up a generation and puts it into the file.
func (n *Notifier) replace() (id string, err error) {
	id = rand.Text()
	if err := atomicfile.Write(n.root+File, []byte(id+"\n"), 0o644); err != nil {
		return id, fmt.Errorf("write generation: %w", err)
	}
	return id, nil
}
