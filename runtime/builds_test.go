package runtime

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// workshop is a fixture whose guests have a shell: what it ran is in the memory of the guest.
type workshop struct {
	*fixture
	ran []shellCommand // by all guests
}

func newWorkshop(t *testing.T) *workshop {
	w := &workshop{fixture: newFixture(t)}
	w.mu.Lock()
	w.shell = w.run
	w.mu.Unlock()
	return w
}

func (w *workshop) run(c shellCommand) (string, int) {
	w.mu.Lock()
	w.ran = append(w.ran, c)
	w.mu.Unlock()
	if c.user == "root123" {
		return "invalid username: 'root123'", unknownUser
	}
	memory := w.guest(c.id)
	switch words := strings.Fields(c.text); words[0] {
	case "exit":
		return "one\ntwo\n", int(words[1][0] - '0')
	case "pwd": // The probe of the pool.
		return "/tmp\n", 0
	case "printf":
		return strings.ReplaceAll(strings.Trim(strings.TrimPrefix(c.text, "printf %s "), `"`), "$A", c.env["A"]), 0
	}
	if memory != nil { // It may have been ended meanwhile.
		memory.Set("did", memory.Get("did")+c.text+";")
	}
	return "", 0
}

// commands are what all guests ran since the last call.
func (w *workshop) commands() (texts []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.ran {
		texts = append(texts, c.text)
	}
	w.ran = nil
	return texts
}

// begin begins a build.
func (w *workshop) begin(name string, r sandbox.Recipe, tags ...string) sandbox.Build {
	w.t.Helper()
	b, err := w.rt.BeginBuild(w.t.Context(), sandbox.TemplateRequest{Name: name, Tags: tags, KeyID: "k1"})
	if err == nil && b.State != sandbox.BuildWaiting {
		w.t.Errorf("a new build is %s", b.State)
	}
	if err == nil {
		err = w.rt.StartBuild(w.t.Context(), b.TemplateID, b.ID, r)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// await waits until a build is over, and returns it with its log.
func (w *workshop) await(b sandbox.Build) (sandbox.Build, string) {
	w.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case <-deadline:
			w.t.Fatal("the build is not over")
		case <-time.After(time.Millisecond): // A client polls.
		}
		got, err := w.rt.GetBuild(w.t.Context(), b.TemplateID, b.ID)
		if err != nil {
			w.t.Fatal(err)
		}
		if got.State == sandbox.BuildReady || got.State == sandbox.BuildFailed {
			lines, err := w.rt.BuildLogs(w.t.Context(), b.TemplateID, b.ID, 0, 1000)
			if err != nil {
				w.t.Fatal(err)
			}
			var text strings.Builder
			for _, l := range lines {
				text.WriteString(l.Step + " " + l.Message + "\n")
			}
			return got, text.String()
		}
	}
}

func (w *workshop) build(name string, r sandbox.Recipe, tags ...string) sandbox.Build {
	w.t.Helper()
	b, log := w.await(w.begin(name, r, tags...))
	if b.State != sandbox.BuildReady {
		w.t.Fatalf("the build failed: %+v\n%s", b.Failure, log)
	}
	return b
}

func fromBase(steps ...sandbox.RecipeStep) sandbox.Recipe {
	return sandbox.Recipe{FromTemplate: "base", Steps: steps}
}

func step1(kind string, args ...string) sandbox.RecipeStep {
	return sandbox.RecipeStep{Type: kind, Args: args}
}

func TestATemplateIsBuiltAndUsed(t *testing.T) {
	w := newWorkshop(t)
	b := w.build("Mine"[1:], fromBase(step1("ENV", "A", "1", "B", "$A-2"), step1("RUN", "first"), step1("USER", "ann"), step1("WORKDIR", "/app"), step1("RUN", "second", "root")))
	if b.Name != "ine" || b.FinishedAt.IsZero() || !slices.Equal(b.Tags, []string{sandbox.DefaultTag}) {
		t.Errorf("%+v", b)
	}
	w.mu.Lock()
	var first, second shellCommand
	for _, c := range w.ran {
		switch c.text {
		case "first":
			first = c
		case "second":
			second = c
		}
	}
	w.mu.Unlock()
	if first.user != "" || first.env["B"] != "1-2" || second.user != "root" || second.cwd != "/app" {
		t.Errorf("%+v\n%+v", first, second)
	}
	sb := w.create(func(req *sandbox.CreateRequest) { req.Template = "ine" })
	if got := w.guest(sb.ID).Get("did"); !strings.Contains(got, "first;") || !strings.Contains(got, "second;") {
		t.Errorf("the sandbox has %q", got)
	}
	if init := w.initOf(sb.ID); init.DefaultUser != "ann" || init.DefaultWorkdir != "/app" || !init.Restored {
		t.Errorf("the sandbox has the defaults %+v", init)
	}
	env, err := w.db.Environments.Get(t.Context(), sb.ID)
	if err != nil || !maps.Equal(env, map[string]string{"A": "1", "B": "1-2"}) {
		t.Errorf("the sandbox has the environment %v, %v", env, err)
	}
	if sb.TemplateID != b.TemplateID || sb.Alias != "ine" {
		t.Errorf("%+v", sb)
	}
	for _, name := range []string{b.TemplateID, "ine", "ine:default", b.TemplateID + ":default"} {
		if got, err := w.rt.Template(t.Context(), name); err != nil || got.ID != b.TemplateID || got.BuildID != b.ID || got.BuildState != sandbox.BuildReady {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for _, name := range []string{"ine:other", "other"} {
		req := request()
		req.Template = name
		if _, err := w.rt.Create(t.Context(), req); !errors.Is(err, sandbox.ErrTemplateNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a sandbox of a template is made into keeps the user and the directory.
func TestDefaultsOutliveAPauseAndASnapshot(t *testing.T) {
	w := newWorkshop(t)
	w.build("mine", fromBase(step1("USER", "ann"), step1("WORKDIR", "/app")))
	sb := w.create(func(req *sandbox.CreateRequest) { req.Template = "mine" })
	want := func(id string) {
		t.Helper()
		if init := w.initOf(id); init.DefaultUser != "ann" || init.DefaultWorkdir != "/app" {
			t.Errorf("%+v", init)
		}
	}
	snap, err := w.rt.Snapshot(t.Context(), sb.ID, "", "k1")
	if err != nil {
		t.Fatal(err)
	}
	want(w.create(func(req *sandbox.CreateRequest) { req.Template = snap.ID }).ID)
	if err := w.rt.Pause(t.Context(), sb.ID, true); err != nil {
		t.Fatal(err)
	}
	w.restart()
	if _, _, err := w.rt.Connect(t.Context(), sb.ID, time.Minute); err != nil {
		t.Fatal(err)
	}
	want(sb.ID)
}

func TestAnUnchangedBeginningIsNotDoneAgain(t *testing.T) {
	w := newWorkshop(t)
	steps := []sandbox.RecipeStep{step1("ENV", "A", "1"), step1("RUN", "one"), step1("RUN", "two"), step1("RUN", "three")}
	w.build("mine", fromBase(steps...))
	w.commands()
	done := func(r sandbox.Recipe) []string {
		t.Helper()
		w.build("mine", r)
		return w.commands()
	}
	if got := done(fromBase(steps...)); len(got) != 0 {
		t.Errorf("again: %q", got)
	}
	sb := w.create(func(req *sandbox.CreateRequest) { req.Template = "mine" })
	if got := w.guest(sb.ID).Get("did"); got != "one;two;three;" {
		t.Errorf("it has %q", got)
	}
	changed := slices.Clone(steps)
	changed[3] = step1("RUN", "four")
	if got := done(fromBase(changed...)); !slices.Equal(got, []string{"four"}) {
		t.Errorf("another end: %q", got)
	}
	changed = slices.Clone(steps)
	changed[0] = step1("ENV", "A", "2")
	if got := done(fromBase(changed...)); !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("another beginning: %q", got)
	}
	changed = slices.Clone(steps)
	changed[2].Force = true
	if got := done(fromBase(changed...)); !slices.Equal(got, []string{"two", "three"}) {
		t.Errorf("a forced step: %q", got)
	}
	if got := done(sandbox.Recipe{FromTemplate: "base", Steps: steps, Force: true}); !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("forced: %q", got)
	}
}

func TestAFailedBuildSaysWhereAndWhy(t *testing.T) {
	for name, tt := range map[string]struct {
		recipe     sandbox.Recipe
		step, want string
	}{
		"a command":       {fromBase(step1("RUN", "ok"), step1("RUN", "exit 5")), "2", "failed to run command 'exit 5': exit status 5; its last lines: one\ntwo"},
		"an unknown user": {fromBase(step1("RUN", "whoami", "root123")), "1", "failed to run command 'whoami': command failed: unauthenticated: invalid username: 'root123'"},
		"no template":     {sandbox.Recipe{FromTemplate: "nothing"}, "base", "template not found"},
		"no images":       {sandbox.Recipe{FromImage: "ubuntu:22.04"}, "base", "gets no images"},
		"a start command": {sandbox.Recipe{FromImage: "e2bdev/base", StartCmd: "exit 3", ReadyCmd: "exit 1"}, "finalize", "failed to run command 'exit 3'"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorkshop(t)
			b, log := w.await(w.begin("mine", tt.recipe))
			if b.State != sandbox.BuildFailed || b.Failure.Step != tt.step || !strings.Contains(b.Failure.Message, tt.want) {
				t.Errorf("%s, %+v", b.State, b.Failure)
			}
			if !strings.Contains(log, tt.step+" "+strings.Split(b.Failure.Message, "\n")[0]) {
				t.Errorf("the log is\n%s", log)
			}
			if _, err := w.rt.Create(t.Context(), sandbox.CreateRequest{Template: "mine", Timeout: time.Minute}); !errors.Is(err, sandbox.ErrTemplateNotFound) {
				t.Errorf("a sandbox of it: %v", err)
			}
			w.wantOnlyBaseAndLayers()
		})
	}
}

// wantOnlyBaseAndLayers waits until no machine, no slot and no claim is left of builds: they are freed after the outcome, and what
// a call of the driver that hung made when it comes back.
func (w *workshop) wantOnlyBaseAndLayers() {
	w.t.Helper()
	deadline := time.After(20 * time.Second)
	for left := w.leftOfBuilds(); len(left) > 0; left = w.leftOfBuilds() {
		select {
		case <-deadline:
			w.t.Errorf("left of builds:\n%s", strings.Join(left, "\n"))
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// leftOfBuilds says what there is of builds now, without the base and the layers that are ready.
func (w *workshop) leftOfBuilds() (left []string) {
	w.t.Helper()
	if n := w.rt.admission.Ledger.Active().Sandboxes; n != 0 {
		left = append(left, fmt.Sprintf("%d reservations", n))
	}
	machines, err := w.driver.List(w.t.Context())
	for _, m := range machines {
		left = append(left, fmt.Sprintf("the machine %+v", m))
	}
	w.network.mu.Lock()
	for id := range w.network.leased {
		left = append(left, "the slot "+id)
	}
	w.network.mu.Unlock()
	for id := range w.rt.machines.Marks() {
		left = append(left, "the mark of "+id)
	}
	claims, failed := w.db.Snapshots.Claims(w.t.Context())
	for _, c := range claims {
		if c.Kind != "layer" || c.State != store.SnapshotReady {
			left = append(left, fmt.Sprintf("the claim %+v", c))
		}
	}
	if err := errors.Join(err, failed); err != nil {
		w.t.Fatal(err)
	}
	return left
}

func TestTheStartCommandRunsInTheSnapshot(t *testing.T) {
	w := newWorkshop(t)
	b, log := w.await(w.begin("mine", sandbox.Recipe{FromTemplate: "base", StartCmd: "serve", ReadyCmd: "curl"}))
	w.mu.Lock()
	for _, c := range w.ran {
		if c.text == "serve" && c.timeout != "" {
			t.Errorf("the agent ends it after %s ms", c.timeout)
		}
	}
	w.mu.Unlock()
	if got := w.commands(); b.State != sandbox.BuildReady || !slices.Contains(got, "serve") || !slices.Contains(got, "curl") {
		t.Errorf("%s: %q\n%s", b.State, got, log)
	}
}
