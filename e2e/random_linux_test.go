package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/rundlet/rundlet/client"
)

// actor is one of the random clients. What it does is decided by its own
// generator alone, so that a seed gives the same decisions again; how they
// interleave with those of others is up to the machine.
type actor struct {
	*world
	name string
	rng  *rand.Rand
	n    int // of what it wrote
}

// operation is something a client does to a sandbox. op returns an error that is
// an error: what may be refused was sorted out.
type operation struct {
	name   string
	weight int
	do     func(a *actor, ctx context.Context, l *life, pick uint64) error
}

var operations = []operation{
	{"append", 30, (*actor).append},
	{"write", 12, (*actor).write},
	{"check", 20, (*actor).check},
	{"pause", 8, func(a *actor, ctx context.Context, l *life, _ uint64) error { return a.pause(ctx, l, true) }},
	{"pause without memory", 3, func(a *actor, ctx context.Context, l *life, _ uint64) error { return a.pause(ctx, l, false) }},
	{"connect", 8, (*actor).connect},
	{"snapshot", 4, (*actor).takeSnapshot},
	{"delete snapshot", 2, (*actor).deleteSnapshot},
	{"fork", 3, (*actor).fork},
	{"set timeout", 5, (*actor).setTimeout},
	{"kill", 5, (*actor).kill},
}

// operationTimeout is when an operation counts as stuck.
const operationTimeout = 90 * time.Second

// live is the timeout of all sandboxes: none times out.
const live = 6 * time.Hour

// act does one random operation; false if there was nothing to do.
func (a *actor) act(ctx context.Context) bool {
	place, roll, pick := a.rng.IntN(len(a.places)), a.rng.IntN(100), a.rng.Uint64()
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	daemon := a.alive()
	l := a.at(place)
	name, do := "create", func() error { return a.create(ctx, place, pick) }
	if l != nil {
		op := chosen(roll)
		name, do = op.name, func() error { return op.do(a, ctx, l, pick) }
	}
	err := do()
	crashed := a.daemon.Load() != daemon
	var refused *client.Error
	switch {
	case errors.Is(err, errNothing):
		return false
	case err == nil:
		a.count(name, "succeeded")
	case crashed:
		a.count(name, "broken off")
	case errors.Is(err, errAllowed):
		a.count(name, "refused")
	case l != nil && l.mayBeGone() && (code(err) == 404 || !errors.As(err, &refused)):
		a.count(name, "refused")
	default:
		a.count(name, "failed")
		a.fail(a.name, name, l.id(), err)
	}
	if l != nil && l.mayBeGone() && code(err) == 404 {
		a.remove(l)
	}
	return true
}

func chosen(roll int) operation {
	for _, op := range operations {
		if roll -= op.weight; roll < 0 {
			return op
		}
	}
	panic("the weights are less than 100")
}

func (l *life) id() string {
	if l == nil {
		return "an empty place"
	}
	return l.sb.ID
}

var (
	// errNothing: there is nothing that the operation could be done to.
	errNothing = errors.New("nothing to do")
	// errAllowed marks a refusal that the state of the sandbox explains.
	errAllowed = errors.New("refused")
)

// refusable marks the refusals that a lifecycle call may always get while others
// change the sandbox too, or when the machine is short of something: a conflict,
// no room, and not found after a kill.
func refusable(err error, l *life, alone bool) error {
	switch c := code(err); {
	case c == 429, c == 409 && !alone, c == 503 && strings.Contains(err.Error(), "short of memory or disk"), c == 404 && l.mayBeGone():
		return fmt.Errorf("%w: %w", errAllowed, err)
	}
	return err
}

// unsaved is refusable for what saves: what is paused without its memory has
// nothing to save, and the server says so with 501.
func unsaved(err error, l *life, known state, alone bool) error {
	if code(err) == 501 && (known != running && known != paused || !alone) {
		return fmt.Errorf("%w: %w", errAllowed, err)
	}
	return refusable(err, l, alone)
}

func (a *actor) tag() string {
	a.n++
	return fmt.Sprintf("%s-%d", a.name, a.n)
}

// command runs a script in the sandbox, which wakes it. It may fail if the
// sandbox is, or was meanwhile, in no state to run it.
func (a *actor) command(ctx context.Context, l *life, script string) (string, error) {
	end := l.command()
	out, err := run(ctx, a.api, l.sb, script)
	if mustSucceed := end(err == nil); err != nil && !mustSucceed {
		return out, fmt.Errorf("%w: %w", errAllowed, err)
	}
	return out, err
}

// keeper counts the lines of the log in its memory: it numbers each line that it
// is given. There is one at a time; the lock goes with it.
const keeper = `cd && cat > keeper <<'END'
exec 3<>in
n=$(wc -l < log)
while read -r tag <&3; do n=$((n+1)); echo "$n $tag" >> log; done
END
touch log && mkfifo in`

const appending = `cd && exec 9>>.lock
if flock -n 9; then setsid bash keeper < /dev/null > /dev/null 2>&1 & fi
exec 9>&- 4<>in
echo %[1]s >&4
i=0; until grep -q ' %[1]s$' log; do i=$((i+1)); [ $i -lt 400 ] || exit 7; sleep 0.02; done`

func (a *actor) append(ctx context.Context, l *life, _ uint64) error {
	tag := a.tag()
	done := l.append(tag)
	_, err := a.command(ctx, l, fmt.Sprintf(appending, tag))
	done(err == nil)
	return err
}

func (a *actor) write(ctx context.Context, l *life, _ uint64) error {
	value := a.tag()
	done := l.write(a.name, value)
	_, err := a.command(ctx, l, fmt.Sprintf("cd && echo %s > new.%s && mv new.%[2]s own.%[2]s", value, a.name))
	done(err == nil)
	return err
}

func (a *actor) check(ctx context.Context, l *life, _ uint64) error {
	return a.inspect(ctx, l, a.name) // The files of others may change at this moment.
}

// inspect reads the log and the files of some clients.
func (a *actor) inspect(ctx context.Context, l *life, whose ...string) error {
	must := l.certain()
	out, err := a.command(ctx, l, "cd && cat log && for w in "+strings.Join(whose, " ")+"; do echo =$w; cat own.$w 2>/dev/null || true; done")
	if err != nil {
		return err
	}
	for _, who := range slices.Backward(whose) {
		log, own, found := strings.Cut(out, "="+who+"\n")
		if !found {
			return fmt.Errorf("it answers %q", out)
		}
		if err := l.checkOwn(who, strings.TrimSuffix(own, "\n")); err != nil {
			return err
		}
		out = log
	}
	return l.checkLog(must, out)
}

// create makes a sandbox for an empty place, of the base or of a snapshot.
func (a *actor) create(ctx context.Context, place int, pick uint64) error {
	place, ok := a.take(place)
	if !ok {
		return errNothing
	}
	var l *life
	defer func() { a.put(place, l) }()
	template, f := "base", newFiles()
	if id, saved, ok := a.snapshot(pick/2, false); ok && pick%2 == 0 {
		template, f = id, saved
	}
	daemon := a.daemon.Load()
	sb, err := a.api.CreateWith(ctx, client.CreateOptions{Template: template, Timeout: live, Pause: true, AutoResume: true})
	if err == nil && template == "base" {
		_, err = run(ctx, a.api, sb, keeper)
	}
	if err != nil {
		if a.daemon.Load() != daemon {
			a.lost(1, 0)
		}
		if code(err) == 429 || code(err) == 404 && template != "base" {
			return fmt.Errorf("%w: %w", errAllowed, err) // The snapshot was deleted.
		}
		return err
	}
	l = newLife(sb, f)
	return nil
}

func (a *actor) pause(ctx context.Context, l *life, memory bool) error {
	known, end := l.change(true, false)
	err := a.api.Pause(ctx, l.sb.ID, memory)
	left := paused
	if !memory {
		left = rebooted
	}
	if err != nil {
		left = ""
	}
	alone := end(left)
	switch {
	case alone && known == running && err != nil, alone && (known == paused || known == rebooted) && code(err) != 409:
		return fmt.Errorf("it was %q: %w", known, errors.Join(err, errors.New("pause")))
	case code(err) == 409:
		return fmt.Errorf("%w: %w", errAllowed, err)
	}
	return refusable(err, l, alone)
}

func (a *actor) connect(ctx context.Context, l *life, _ uint64) error {
	_, end := l.change(false, false)
	_, _, err := a.api.Connect(ctx, l.sb.ID, live)
	left := running
	if err != nil {
		left = ""
	}
	return refusable(err, l, end(left))
}

func (a *actor) takeSnapshot(ctx context.Context, l *life, _ uint64) error {
	copied, done := l.capture()
	known, end := l.change(false, false)
	daemon := a.daemon.Load()
	s, err := a.api.Snapshot(ctx, l.sb.ID, "")
	alone := end("")
	done()
	if err != nil {
		if a.daemon.Load() != daemon {
			a.lost(0, 1)
		}
		return unsaved(err, l, known, alone)
	}
	a.keep(s.ID, *copied)
	return nil
}

func (a *actor) deleteSnapshot(ctx context.Context, _ *life, pick uint64) error {
	id, _, ok := a.snapshot(pick, true)
	if !ok {
		return errNothing
	}
	daemon := a.daemon.Load()
	err := a.api.DeleteSnapshot(ctx, id)
	if err != nil && a.daemon.Load() != daemon {
		a.lost(0, 1)
	}
	return err
}

func (a *actor) fork(ctx context.Context, l *life, _ uint64) error {
	place, ok := a.take(-1)
	if !ok {
		return errNothing
	}
	var child *life
	defer func() { a.put(place, child) }()
	copied, done := l.capture()
	known, end := l.change(false, false)
	daemon := a.daemon.Load()
	results, err := a.api.Fork(ctx, l.sb.ID, 1, live)
	alone := end("")
	done()
	if err == nil && (len(results) != 1 || results[0].Error != nil) {
		err = fmt.Errorf("fork returned %+v", results)
	}
	if err != nil {
		if a.daemon.Load() != daemon {
			a.lost(1, 0)
		}
		return unsaved(err, l, known, alone)
	}
	child = newLife(*results[0].Sandbox, *copied)
	return nil
}

func (a *actor) setTimeout(ctx context.Context, l *life, _ uint64) error {
	err := a.api.SetTimeout(ctx, l.sb.ID, live)
	if code(err) == 409 || code(err) == 404 && l.mayBeGone() {
		return fmt.Errorf("%w: %w", errAllowed, err)
	}
	return err
}

func (a *actor) kill(ctx context.Context, l *life, _ uint64) error {
	_, end := l.change(true, true)
	err := a.api.Kill(ctx, l.sb.ID)
	end("")
	if err == nil {
		a.remove(l)
	}
	return refusable(err, l, false)
}
