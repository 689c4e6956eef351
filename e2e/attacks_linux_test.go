package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rundlet/rundlet/client"
)

// attacks are the ways in which nodes were hurt once. The server may
// answer them as it likes; what counts is what other clients get.
var attacks = []struct {
	name string
	do   func(*attacker, context.Context)
}{
	{"connections", guest("user", connectionsScript)},
	{"datagrams", guest("user", datagramsScript)},
	{"processes", guest("user", `f() { f | f & }; ulimit -u unlimited; f; sleep 8`)},
	{"memory", guest("user", `python3 -c 'x = []
while True: x.append(bytearray(16 << 20))'`)},
	{"shared memory", guest("user", `dd if=/dev/zero of=/dev/shm/x bs=1M`)},
	{"files", guest("user", `mkdir d; cd d; i=0; while :; do echo > $((i += 1)); done`)},
	{"disk", guest("root", `dd if=/dev/zero of=/usr/local/etc/x bs=1M & dd if=/dev/zero of=/home/user/x bs=1M & dd if=/dev/zero of=/usr/x bs=1M; wait`)},
	{"output", guest("user", `yes "$(head -c 4000 /dev/zero | tr '\0' x)"`)},
	{"console", guest("root", `yes "$(head -c 4000 /dev/zero | tr '\0' x)" | tee /dev/console > /proc/1/fd/1`)},
	{"agent stopped", (*attacker).stopAgent},
	{"endless headers", answering(endlessHeaders)},
	{"silence", answering(silence)},
	{"garbage", answering(garbage)},
	{"saved under load", (*attacker).saveUnderLoad},

	{"queue", (*attacker).fillQueue},
	{"creates abandoned", (*attacker).abandonCreates},
	{"forks", (*attacker).forks},
	{"snapshots", (*attacker).snapshots},
	{"idempotency keys", (*attacker).idempotencyKeys},

	{"idle connections", (*attacker).idleConnections},
	{"slow requests", (*attacker).slowRequests},
	{"wrong keys", (*attacker).wrongKeys},
	{"wrong signatures", (*attacker).wrongSignatures},
	{"large bodies", (*attacker).largeBodies},
	{"streams reset", (*attacker).resetStreams},
}

// attacker does one attack and owns what it makes.
type attacker struct {
	evil   client.API
	report func(what, text string)
	dice   *rand.Rand

	mu        sync.Mutex
	sandboxes []string
	states    []string // snapshots
}

// sandbox makes one for the attack; false if the server refused.
func (a *attacker) sandbox(ctx context.Context, o client.CreateOptions) (client.Sandbox, bool) {
	o.Template, o.Timeout = "base", attackLive
	sb, err := a.evil.CreateWith(ctx, o)
	if err != nil {
		return sb, false
	}
	a.own(sb.ID)
	return sb, true
}

func (a *attacker) own(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sandboxes = append(a.sandboxes, id)
}

// clear removes what the attack made; it gives the server as long as it gives
// the good client.
func (a *attacker) clear() {
	ctx, cancel := context.WithTimeout(context.Background(), goodRequest)
	defer cancel()
	for _, id := range a.sandboxes {
		a.must("kill "+id, a.evil.Kill(ctx, id))
	}
	for _, id := range a.states {
		a.must("delete "+id, a.evil.DeleteSnapshot(ctx, id))
	}
}

// must notes a failure to remove an attacker's object. An object that has ended
// already is gone.
func (a *attacker) must(what string, err error) {
	if err == nil || code(err) == 404 {
		return
	}
	a.report("error", fmt.Sprintf("attacker's %s: %v", what, err))
}

// guest is an attack from inside: a script that runs until the time is up.
func guest(user, script string) func(*attacker, context.Context) {
	return func(a *attacker, ctx context.Context) {
		if sb, ok := a.sandbox(ctx, client.CreateOptions{}); ok {
			a.inside(ctx, sb, user, script)
		}
	}
}

func (a *attacker) inside(ctx context.Context, sb client.Sandbox, user, script string) {
	_, _ = a.evil.Agent(sb).Run(ctx, client.Command{
		Args: []string{"/bin/bash", "-c", script}, User: user, Stdout: io.Discard, Stderr: io.Discard,
	})
}

const connectionsScript = `ulimit -n $(ulimit -Hn); exec python3 -c '
import socket, time
held = []
end = time.time() + 9
while time.time() < end:
    try:
        c = socket.socket(); c.setblocking(False); c.connect_ex(("` + farAddr + `", 9)); held.append(c)
    except OSError:
        time.sleep(0.05)
'`

const datagramsScript = `exec python3 -c '
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end, port = time.time() + 9, 0
while time.time() < end:
    port = port % 65535 + 1
    try: s.sendto(b"x" * 1000, ("` + farAddr + `", port))
    except OSError: pass
'`

// saveUnderLoad pauses a sandbox in which everything is busy, and resumes it.
func (a *attacker) saveUnderLoad(ctx context.Context) {
	sb, ok := a.sandbox(ctx, client.CreateOptions{})
	if !ok {
		return
	}
	go a.inside(ctx, sb, "user", `for i in 1 2 3 4; do (while :; do echo x > f$i; done) & done; `+connectionsScript)
	for ctx.Err() == nil {
		if a.evil.Pause(ctx, sb.ID, true) != nil {
			return
		}
		if _, _, err := a.evil.Connect(ctx, sb.ID, attackLive); err != nil {
			return
		}
	}
}

// stopFirst stops the first process as a debugger does, since no signal stops it.
const stopFirst = `python3 -c 'import ctypes, os, time
for thread in os.listdir("/proc/1/task"): ctypes.CDLL(None).ptrace(16, int(thread), 0, 0)
time.sleep(3600)'`

// stopAgent stops the agent of a paused sandbox and wakes it by traffic that
// has no key.
func (a *attacker) stopAgent(ctx context.Context) {
	sb, ok := a.sandbox(ctx, client.CreateOptions{AutoResume: true})
	if !ok {
		return
	}
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	a.inside(short, sb, "root", stopFirst)
	cancel()
	if a.evil.Pause(ctx, sb.ID, true) != nil {
		return
	}
	each(10, func(int) { a.visit(ctx, sb, 8000) })
}
