package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/rundlet/rundlet/client"
)

// life is one sandbox as the random clients know it: what its files must hold
// and what they may hold, because a call that failed may have had its effect.
// Several clients use it at the same time.
type life struct {
	sb client.Sandbox

	mu    sync.Mutex
	known state
	// active are the lifecycle calls under way, begun those that ever began;
	// breaking and broken count those of them that break off commands.
	active, begun, breaking, broken int
	// commands are those under way.
	commands int
	// killing: a kill was begun, so that it may be gone.
	killing bool
	files   files
	// captures are the copies of the sandbox that are being made.
	captures map[*files]bool
}

// state is what is known of a sandbox; "" is not known.
type state string

const (
	running  state = "running"
	paused   state = "paused"
	rebooted state = "paused without memory"
)

// files are the lines of the log and each client's own file.
type files struct {
	must, may map[string]bool
	own       map[string]*register
}

// register is a file with one writer at a time. A write that failed may take
// effect at any time after.
type register struct {
	value   string
	strayed map[string]bool
}

func newFiles() files {
	return files{must: map[string]bool{}, may: map[string]bool{}, own: map[string]*register{}}
}

func newLife(sb client.Sandbox, f files) *life {
	return &life{sb: sb, known: running, files: f, captures: map[*files]bool{}}
}

func (f *files) register(who string) *register {
	if f.own[who] == nil {
		f.own[who] = &register{strayed: map[string]bool{}}
	}
	return f.own[who]
}

// clone copies what a capture that begins now has at least.
func (f *files) clone() files {
	out := files{must: maps.Clone(f.must), may: maps.Clone(f.may), own: map[string]*register{}}
	for name, r := range f.own {
		out.own[name] = &register{value: r.value, strayed: maps.Clone(r.strayed)}
	}
	return out
}

// capture begins a copy, and done ends it: what is written in between may be in
// it.
func (l *life) capture() (copied *files, done func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.files.clone()
	l.captures[&f] = true
	return &f, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.captures, &f)
	}
}

// append notes that a line is about to be appended; the result is called with
// whether it was.
func (l *life) append(tag string) func(ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files.may[tag] = true
	for c := range l.captures {
		c.may[tag] = true
	}
	return func(ok bool) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if ok {
			l.files.must[tag] = true
		}
	}
}

// write is append for a client's own file.
func (l *life) write(who, value string) func(ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files.register(who).strayed[value] = true
	for c := range l.captures {
		c.register(who).strayed[value] = true
	}
	return func(ok bool) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if ok {
			r := l.files.register(who)
			r.value = value
			delete(r.strayed, value)
		}
	}
}

// checkLog compares what was read with what must and may be there; must is what
// was certain before the read began.
func (l *life) checkLog(must map[string]bool, log string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := map[string]bool{}
	n := 0
	for line := range strings.Lines(log) {
		line, whole := strings.CutSuffix(line, "\n")
		if !whole {
			break
		}
		number, tag, _ := strings.Cut(line, " ")
		if n++; number != strconv.Itoa(n) {
			return fmt.Errorf("line %d of the log is %q: a counter in memory was lost or turned back", n, line)
		}
		if seen[tag] {
			return fmt.Errorf("%q is in the log twice", tag)
		}
		if seen[tag] = true; !l.files.may[tag] {
			return fmt.Errorf("%q is in the log and was not written here", tag)
		}
	}
	for tag := range must {
		if !seen[tag] {
			return fmt.Errorf("%q was written and is lost from the log of %d lines", tag, n)
		}
	}
	maps.Copy(l.files.must, seen)
	return nil
}

// checkOwn does it for a client's own file, while the client writes nothing.
func (l *life) checkOwn(who, own string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.files.register(who)
	if own != r.value && !r.strayed[own] {
		return fmt.Errorf("the file of %s is %q, want %q or one of %v", who, own, r.value, slices.Sorted(maps.Keys(r.strayed)))
	}
	return nil
}

// certain is what must be in the log now.
func (l *life) certain() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.files.must)
}

// change begins a lifecycle call. The result ends it, with the state it left the
// sandbox in ("" for as it was), and returns what was known when it began, unless
// another call came in between.
func (l *life) change(breaks, kill bool) (known state, end func(left state) (alone bool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	alone := l.active == 0
	l.active++
	l.begun++
	if breaks {
		l.breaking++
		l.broken++
	}
	l.killing = l.killing || kill
	begun, known := l.begun, l.known
	return known, func(left state) bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.active--
		if breaks {
			l.breaking--
		}
		alone := alone && l.begun == begun && !l.killing
		switch {
		case !alone:
			l.known = ""
		case left == paused && l.commands > 0:
			l.known = "" // One of them may come after the pause, and wake it.
		case left != "":
			l.known = left
		}
		return alone
	}
}

// forget says that nothing is known of its state any more.
func (l *life) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known = ""
}

// command begins a command, which wakes a paused sandbox. The result ends it, and
// reports whether it had to succeed.
func (l *life) command() (end func(ok bool) (mustSucceed bool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	calm := l.breaking == 0 && (l.known == running || l.known == paused) && !l.killing
	if l.known == paused {
		l.known = "" // From now on it may be woken at any time.
		l.begun++
	}
	broken := l.broken
	l.commands++
	return func(ok bool) bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.commands--
		if l.broken != broken {
			l.known = "" // It may have come after the pause.
			l.begun++
		}
		if l.broken != broken || l.breaking > 0 || l.killing {
			return false
		}
		if ok {
			l.known = running
		}
		return calm
	}
}

func (l *life) mayBeGone() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.killing
}
