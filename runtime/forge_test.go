package runtime

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/sandbox"
)

// forge is a workshop whose guests have git.
type forge struct {
	*workshop
	hang   chan struct{}            // git waits until it is closed, or until it is killed; nil does not
	killed map[string]chan struct{} // closed when git is killed, by guest
	begun  chan string              // receives the guests whose git waits
	fails  bool
	breaks int // connections that break off
}

const head = "0123456789012345678901234567890123456789"

func newForge(t *testing.T) *forge {
	w := &forge{workshop: newWorkshop(t), killed: map[string]chan struct{}{}, begun: make(chan string, 100)}
	w.mu.Lock()
	plain := w.shell
	w.shell = func(c shellCommand) (string, int) {
		if strings.HasPrefix(c.text, "git rev-parse") {
			return head + "\nrefs/heads/main\n", 0
		}
		if c.tag == "" || !strings.HasPrefix(c.text, "git ") {
			return plain(c)
		}
		w.mu.Lock()
		hang, fails := w.hang, w.fails
		killed := w.killed[c.id]
		if killed == nil {
			killed = make(chan struct{})
			w.killed[c.id] = killed
		}
		breaks := w.breaks > 0
		if breaks {
			w.breaks--
		}
		w.mu.Unlock()
		if breaks {
			return "", brokenOff
		}
		if hang != nil {
			w.begun <- c.id
			select {
			case <-hang:
			case <-killed:
				return "", brokenOff
			}
		}
		if fails {
			return "warning\nfatal: no \x1b[31mroute\n", 128
		}
		return plain(c)
	}
	w.kill = func(id string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.killed[id] != nil {
			close(w.killed[id])
			delete(w.killed, id)
		}
	}
	w.mu.Unlock()
	return w
}

// holdGit lets git wait from now on, until release is called.
func (w *forge) holdGit() (release func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	hang := make(chan struct{})
	w.hang = hang
	return sync.OnceFunc(func() {
		w.mu.Lock()
		w.hang = nil
		w.mu.Unlock()
		close(hang)
	})
}

// waits returns when git of a guest waits.
func (w *forge) waits(id string) {
	w.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case got := <-w.begun:
			if got == id {
				return
			}
		case <-deadline:
			w.t.Fatalf("git does not run in %s: %+v", id, w.gate(id))
		}
	}
}

func (w *forge) setFails(fails bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fails = fails
}

func (w *forge) repository() sandbox.Build {
	return w.build("app", sandbox.Recipe{FromTemplate: "base", Steps: []sandbox.RecipeStep{
		step1("USER", "ann"), step1("CLONE", "https://git.example.com/x/app.git", "main", "/srv/app"), step1("RUN", "npm ci"),
	}, WarmUp: []string{"warm"}})
}

func (w *forge) fromApp(change ...func(*sandbox.CreateRequest)) sandbox.Sandbox {
	return w.create(append([]func(*sandbox.CreateRequest){long, func(r *sandbox.CreateRequest) { r.Template = "app" }}, change...)...)
}

func with(keys ...string) func(*sandbox.CreateRequest) {
	return func(r *sandbox.CreateRequest) {
		r.Metadata = map[string]string{}
		for i := 0; i < len(keys); i += 2 {
			r.Metadata[keys[i]] = keys[i+1]
		}
	}
}

// decided waits until the gate of a sandbox is, and returns it.
func (w *forge) decided(id string) sandbox.Freshness {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	if err := w.rt.AwaitSync(ctx, id); err != nil {
		w.t.Fatalf("%v: %+v", err, w.gate(id))
	}
	return w.gate(id)
}

func (w *forge) gate(id string) sandbox.Freshness {
	w.t.Helper()
	sb, err := w.rt.Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	if row := w.row(id); row.Freshness != sb.Freshness {
		w.t.Errorf("the row has %+v, and clients see %+v", row.Freshness, sb.Freshness)
	}
	return sb.Freshness
}

func (w *forge) wantPhase(id string, want sandbox.FreshnessPhase) {
	w.t.Helper()
	if got := w.gate(id); got.Phase != want {
		w.t.Errorf("%s is %+v, want %s", id, got, want)
	}
}

func TestATemplateOfARepositoryIsBuilt(t *testing.T) {
	w := newForge(t)
	w.commands()
	b := w.repository()
	got := w.commands()
	got = slices.DeleteFunc(got, func(s string) bool { return strings.Contains(s, "useradd") })
	if want := []string{"mkdir -p -- '/srv/app' && chown -- 'ann': '/srv/app'", "git clone --quiet -- 'https://git.example.com/x/app.git' .",
		"git checkout --quiet 'main' --", "npm ci", "warm"}; !slices.Equal(got, want) {
		t.Errorf("it ran %q, want %q", got, want)
	}
	from, err := w.rt.BuildOrigin(t.Context(), "app")
	repo := sandbox.Repository{URL: "https://git.example.com/x/app.git", Branch: "main", Commit: head, Checkout: "/srv/app", User: "ann"}
	if err != nil || from.Defaults.Repository != repo || from.Defaults.Workdir != "/srv/app" {
		t.Errorf("%+v, %v", from.Defaults, err)
	}
	// A branch moves: the clone is done again, and what follows it.
	w.build("app", sandbox.Recipe{FromTemplate: "base", Steps: []sandbox.RecipeStep{step1("RUN", "first"), step1("CLONE", repo.URL, "", "/srv/app"), step1("RUN", "npm ci")}})
	w.commands()
	w.build("app", sandbox.Recipe{FromTemplate: "base", Steps: []sandbox.RecipeStep{step1("RUN", "first"), step1("CLONE", repo.URL, "", "/srv/app"), step1("RUN", "npm ci")}})
	if got := w.commands(); slices.Contains(got, "first") || !slices.Contains(got, "npm ci") {
		t.Errorf("the second build ran %q", got)
	}
	// A commit does not.
	pinned := sandbox.Recipe{FromTemplate: "base", Steps: []sandbox.RecipeStep{step1("CLONE", repo.URL, head, "/srv/app"), step1("RUN", "npm ci")}}
	w.build("app", pinned)
	w.commands()
	w.build("app", pinned)
	if got := w.commands(); len(got) != 0 {
		t.Errorf("a commit is built again by %q", got)
	}
	// Templates that begin with one are of its repository.
	w.build("more", sandbox.Recipe{FromTemplate: "app", Steps: []sandbox.RecipeStep{step1("RUN", "x")}})
	if from, err := w.rt.BuildOrigin(t.Context(), "more"); err != nil || from.Defaults.Repository.URL != repo.URL {
		t.Errorf("%+v, %v", from.Defaults, err)
	}
	if failed, _ := w.await(w.begin("cold", sandbox.Recipe{FromTemplate: "base", WarmUp: []string{"exit 3"}})); failed.State != sandbox.BuildFailed ||
		failed.Failure.Step != sandbox.StepFinalize || !strings.Contains(failed.Failure.Message, "exit 3") {
		t.Errorf("%+v %+v", failed, failed.Failure)
	}
	_ = b
}
