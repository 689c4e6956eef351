package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/internal/crashdisk"
)

// powerLab is a server whose state directory is a disk that is recorded, and the
// ledger of what it answered.
type powerLab struct {
	t   *testing.T
	dir string
	*crashdisk.Disk
	srv *server
	api client.API
	*ledger
	ops map[string]int
}

// diskBytes is the size of the recorded disk: the daemon wants a free part of it.
const diskBytes = 6 << 30

func newPowerLab(t *testing.T) *powerLab {
	t.Helper()
	if os.Getenv(stageEnv) != stageTests {
		t.Skipf("%s is not set: run make e2e", binEnv)
	}
	dir, err := os.MkdirTemp(os.Getenv(dirEnv), "power-")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"state", "disk"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	disk, err := crashdisk.Start(filepath.Join(dir, "disk"), filepath.Join(dir, "state"), diskBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	})
	l := &powerLab{t: t, dir: dir, Disk: disk, ledger: newLedger(), ops: map[string]int{}}
	l.start()
	return l
}

func (l *powerLab) start() {
	l.t.Helper()
	l.srv = startServer(l.t, l.dir, cold...)
	l.api = l.srv.api()
}

func (l *powerLab) position() int {
	l.t.Helper()
	position, err := l.Position()
	if err != nil {
		l.t.Fatal(err)
	}
	return position
}

// call notes what may be found of id while a request is under way, and what must
// be from the moment of its answer on.
func (l *powerLab) call(op, id string, meanwhile kept, request func() (promise, error)) {
	l.t.Helper()
	before := l.promises[id]
	during := promise{from: l.position(), kept: meanwhile}
	if len(before) > 0 {
		during.content = before[len(before)-1].content
	}
	l.promise(id, during)
	after, err := request()
	if err != nil {
		l.t.Fatalf("%s of %s: %v\n%s", op, id, err, l.srv.logTail())
	}
	after.from = l.position()
	l.promise(id, after)
	l.ops[op]++
}

// make is call of what gives the id.
func (l *powerLab) make(op string, request func() (id string, p promise, err error)) string {
	l.t.Helper()
	id, p, err := request()
	if err != nil {
		l.t.Fatalf("%s: %v\n%s", op, err, l.srv.logTail())
	}
	p.from = l.position()
	l.promise(id, p)
	l.ops[op]++
	return id
}

func (l *powerLab) create(from string) string {
	l.t.Helper()
	return l.make("create", func() (string, promise, error) {
		sb, err := l.api.Create(l.t.Context(), from, time.Hour)
		return sb.ID, promise{}, err
	})
}

// pause writes something new into the sandbox first, and what it wrote before
// must be there.
func (l *powerLab) pause(id string, memory bool) {
	l.t.Helper()
	sb, err := l.api.Get(l.t.Context(), id)
	if err != nil {
		l.t.Fatal(err)
	}
	content, err := run(l.t.Context(), l.api, sb, "echo again >> ~/file; cat ~/file")
	if err != nil {
		l.t.Fatal(err)
	}
	l.call(fmt.Sprintf("pause (memory %v)", memory), id, keptNothing, func() (promise, error) {
		return promise{kept: keptPaused, content: content}, l.api.Pause(l.t.Context(), id, memory)
	})
}

func (l *powerLab) resume(id string) {
	l.t.Helper()
	l.call("resume", id, keptPausedOrRuns, func() (promise, error) {
		_, _, err := l.api.Connect(l.t.Context(), id, time.Hour)
		return promise{}, err
	})
}

func (l *powerLab) kill(id string) {
	l.t.Helper()
	l.call("kill", id, keptNothing, func() (promise, error) {
		return promise{kept: keptGone}, l.api.Kill(l.t.Context(), id)
	})
}

func (l *powerLab) snapshot(id string) string {
	l.t.Helper()
	return l.make("snapshot", func() (string, promise, error) {
		s, err := l.api.Snapshot(l.t.Context(), id, "")
		return strings.TrimSuffix(s.ID, ":default"), promise{kept: keptSaved}, err
	})
}

func (l *powerLab) capture(id string) string {
	l.t.Helper()
	return l.make("capture", func() (string, promise, error) {
		c, err := l.api.Capture(l.t.Context(), id, "idle")
		return c.ID, promise{kept: keptSaved}, err
	})
}

func (l *powerLab) deleteSnapshot(id string) {
	l.t.Helper()
	l.call("delete", id, keptNothing, func() (promise, error) {
		return promise{kept: keptGone}, l.api.DeleteSnapshot(l.t.Context(), id)
	})
}

func (l *powerLab) fork(id string, count int) []string {
	l.t.Helper()
	results, err := l.api.Fork(l.t.Context(), id, count, time.Hour)
	if err != nil {
		l.t.Fatalf("fork: %v\n%s", err, l.srv.logTail())
	}
	var out []string
	for _, r := range results {
		if r.Error != nil {
			l.t.Fatalf("fork: %v", r.Error)
		}
		out = append(out, r.Sandbox.ID)
	}
	l.ops["fork"]++
	return out
}

// backup writes one into the state directory, for its disk to be cut too.
func (l *powerLab) backup() {
	l.t.Helper()
	name := fmt.Sprintf("backup-%d.db", l.ops["backup"])
	l.call("backup", name, keptNothing, func() (promise, error) {
		cmd := exec.Command(os.Getenv(binEnv), "backup", filepath.Join(l.dir, "state", name))
		cmd.Env = l.srv.cmd.Env
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return promise{kept: keptBackup, content: strings.Join(l.pausedAt(l.position()), " ")}, err
	})
}

// session does every operation that saves or deletes, alone and on top of others.
func (l *powerLab) session() {
	a := l.create("base")
	l.pause(a, true)
	ofPaused := l.snapshot(a)
	l.resume(a)
	ofRunning := l.snapshot(a)
	children := l.fork(a, 2)
	l.pause(children[0], true)
	l.pause(a, false)
	b := l.create(ofRunning)
	l.deleteSnapshot(ofRunning)
	l.pause(b, true)
	l.backup()
	continuation := l.capture(children[1])
	l.resume(children[0])
	l.pause(children[0], true)
	l.kill(children[1])
	l.deleteSnapshot(ofPaused)
	l.resume(a)
	l.kill(b)
	l.pause(a, true)
	l.deleteSnapshot(continuation)
	l.kill(children[0])
	l.snapshot(a)
}
