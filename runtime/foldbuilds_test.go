package runtime

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/runtime/build/fold"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

func TestABuildGoesOnInAMachineThatBootsFromItsImage(t *testing.T) {
	p := withFold(t)
	p.state.Extras = []envd.Extra{{Path: []byte("/pipe\xff"), Mode: 0o10644}}
	recipe := sandbox.Recipe{FromTemplate: "base", StartCmd: "serve", ReadyCmd: "curl",
		Steps: []sandbox.RecipeStep{step1("RUN", "one"), step1("ENV", "A", "b"), step1("USER", "ann"), step1("RUN", "two")}}
	b, log := p.await(p.begin("mine", recipe))
	if b.State != sandbox.BuildReady || !strings.Contains(log, "The files of the steps, 32 MiB, are in the image") {
		t.Fatalf("%s\n%s", b.State, log)
	}
	if root, did := p.rootOf("mine"); root != "/folded-1" || did != "serve;curl;" {
		t.Errorf("its root is %s, and it did %q", root, did)
	}
	if want := []string{"/base one two"}; !slices.Equal(p.made, want) {
		t.Errorf("the images are %q, want %q", p.made, want)
	}
	if len(p.restored) != 1 || string(p.restored[0].Path) != "/pipe\xff" || p.restored[0].Mode != 0o10644 {
		t.Errorf("restored are %+v", p.restored)
	}
	p.workshop.mu.Lock()
	for _, c := range p.ran {
		if c.text == "serve" && (c.user != "ann" || c.env["A"] != "b") {
			t.Errorf("the start command has %+v", c)
		}
	}
	p.workshop.mu.Unlock()
	p.commands()
	// The layers of its steps are those of later builds, and what they write is put over the root of before.
	recipe.Steps = append(recipe.Steps, step1("RUN", "three"))
	recipe.StartCmd, recipe.ReadyCmd = "", ""
	p.build("other", recipe)
	if got := p.commands(); !slices.Equal(got, []string{"three"}) {
		t.Errorf("it ran %q", got)
	}
	if p.made[1] != "/base one three two" {
		t.Errorf("its image is %q", p.made[1])
	}
	// Of a template that is in an image, others can be made.
	p.build("third", sandbox.Recipe{FromTemplate: "other", Steps: []sandbox.RecipeStep{step1("RUN", "four")}})
	if root, _ := p.rootOf("third"); root != "/folded-3" || p.made[2] != "/folded-2 four" {
		t.Errorf("its root is %s, of %q", root, p.made[2])
	}
	p.wantReleased()
	for _, name := range []string{"mine", "other", "third"} {
		if err := p.rt.DeleteTemplate(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	p.wantOnlyBaseAndLayers()
}

// A template can be deleted while a build that begins with it does its first step, and no row names the root of the build: it is held.
func TestABuildHoldsTheRootOfADeletedTemplate(t *testing.T) {
	p := withFold(t)
	p.build("parent", sandbox.Recipe{FromTemplate: "base", Steps: []sandbox.RecipeStep{step1("RUN", "one")}})
	p.wantReleased()
	held := -1
	p.workshop.mu.Lock()
	shell := p.shell
	p.shell = func(c shellCommand) (string, int) {
		if c.text == "two" {
			if err := p.rt.DeleteTemplate(t.Context(), "parent"); err != nil {
				t.Error(err)
			}
			p.mu.Lock()
			held = p.held["/folded-1"]
			p.mu.Unlock()
		}
		return shell(c)
	}
	p.workshop.mu.Unlock()
	p.build("child", sandbox.Recipe{FromTemplate: "parent", Steps: []sandbox.RecipeStep{step1("RUN", "two")}})
	if held != 1 {
		t.Errorf("its root is held %d times", held)
	}
	p.wantReleased()
	// One that has gone before is not begun with.
	p.mu.Lock()
	p.gone = "/folded-2"
	p.mu.Unlock()
	if b, log := p.await(p.begin("late", sandbox.Recipe{FromTemplate: "child"})); b.State != sandbox.BuildFailed || !strings.Contains(log, errGone.Error()) {
		t.Errorf("%s\n%s", b.State, log)
	}
}

// A guest looks at all files of its root, which takes seconds where a file server has them: one whose root has mounts is not asked, and
// one that has written little does not look.
func TestAGuestIsAskedOnlyWhereAFoldMayPay(t *testing.T) {
	p := withFold(t)
	p.build("mine", fromBase(step1("RUN", "one")))
	if want := []string{fmt.Sprintf("%s=%d", envd.RootLeast, fold.Least)}; !slices.Equal(p.asked, want) {
		t.Errorf("it was asked %q, want %q", p.asked, want)
	}
	p.asked = nil
	base := p.cfg.Base
	p.cfg.Base = func(ctx context.Context) (template.Image, error) {
		image, err := base(ctx)
		image.Spec.Mounts = []vm.Mount{{Source: "/usr", Target: "/usr"}}
		image.Stamp += " with mounts"
		return image, err
	}
	p.restart()
	p.build("mine", sandbox.Recipe{FromTemplate: "base", Force: true, Steps: []sandbox.RecipeStep{step1("RUN", "two")}})
	if len(p.asked) > 0 {
		t.Errorf("with mounts, it was asked %q", p.asked)
	}
}

// The files of a checkout have other numbers in an image, by which git would take all of them for changed.
func TestTheIndexOfACheckoutIsThatOfItsImage(t *testing.T) {
	for _, folds := range []bool{true, false} {
		p := withFold(t)
		if !folds {
			p.state.LayerBytes = 0
		}
		p.build("mine", fromBase(step1("USER", "ann"), step1("CLONE", "https://git.example/app.git", "", "/srv/app")))
		p.workshop.mu.Lock()
		found := 0
		for _, c := range p.ran {
			if c.text == "git update-index -q --refresh" && c.user == "ann" && c.cwd == "/srv/app" {
				found++
			}
		}
		p.workshop.mu.Unlock()
		if (found == 1) != folds || found > 1 {
			t.Errorf("folded %v: it was refreshed %d times", folds, found)
		}
	}
}

func TestWhatIsNotFolded(t *testing.T) {
	for name, c := range map[string]struct {
		state  envd.RootState
		recipe sandbox.Recipe
		noFold bool
		basic  bool
	}{
		"little":           {state: envd.RootState{LayerBytes: fold.Least - 1}},
		"a process runs":   {state: envd.RootState{LayerBytes: 2 * fold.Least, Lost: []string{"the process 7 (\"postgres\") runs"}}},
		"a large file":     {state: envd.RootState{LayerBytes: 2 * fold.Least, LargestBytes: fold.Largest + 1}},
		"a size of a lie":  {state: envd.RootState{LayerBytes: 2 * fold.Least, LargestBytes: -1}},
		"no steps":         {state: envd.RootState{LayerBytes: 2 * fold.Least}, recipe: fromBase()},
		"no step of files": {state: envd.RootState{LayerBytes: 2 * fold.Least}, recipe: fromBase(step1("ENV", "A", "b"))},
		"no images":        {state: envd.RootState{LayerBytes: 2 * fold.Least}, noFold: true},
		"another driver":   {state: envd.RootState{LayerBytes: 2 * fold.Least}, basic: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := withFold(t)
			if p.state = c.state; c.noFold {
				p.cfg.Fold = nil
				p.restart()
			}
			if c.basic {
				p.drive(func(d recordingDriver) vm.Runtime { return withoutLayers{Runtime: d, Dialer: d, SnapshotDeleter: d} })
			}
			recipe := c.recipe
			if recipe.FromTemplate == "" {
				recipe = fromBase(step1("RUN", "one"))
			}
			p.build("mine", recipe)
			root, did := p.rootOf("mine")
			if root != "/base" || len(recipe.Steps) > 0 && recipe.Steps[0].Type == "RUN" && did != "one;" {
				t.Errorf("its root is %s, and it did %q", root, did)
			}
			if len(p.made) > 0 {
				t.Errorf("images were made: %q", p.made)
			}
		})
	}
}

// withoutLayers is a driver that cannot read what a machine wrote.
type withoutLayers struct {
	vm.Runtime
	vm.Dialer
	vm.SnapshotDeleter
}

// A build whose files cannot be folded goes on, in the machine that it has or in one that has the state of its last step.
func TestAFoldThatFailsFailsNoBuild(t *testing.T) {
	for call, asBefore := range map[string]bool{"look": true, "fold": true, "create": false, "restore": false, "init": false} {
		t.Run(call, func(t *testing.T) {
			p := withFold(t)
			p.state.Extras = []envd.Extra{{Path: []byte("/pipe")}}
			p.before = func() error {
				if call != "look" && call != "fold" {
					p.failNext(call, 1) // Of the machine that boots from the image.
				}
				return nil
			}
			if asBefore {
				p.failNext(call, 1)
			}
			p.build("mine", fromBase(step1("RUN", "one"), step1("RUN", "two"), step1("ENV", "A", "b")))
			if root, did := p.rootOf("mine"); root != "/base" || did != "one;two;" {
				t.Errorf("its root is %s, and it did %q", root, did)
			}
			p.wantReleased()
			if err := p.rt.DeleteTemplate(t.Context(), "mine"); err != nil {
				t.Error(err)
			}
			p.wantOnlyBaseAndLayers()
		})
	}
}

// A machine that does not survive that its files are read is replaced by one with the state of its last step.
func TestAMachineThatEndsInAFoldIsReplaced(t *testing.T) {
	p := withFold(t)
	p.before = func() error {
		views, err := p.driver.List(t.Context())
		for _, v := range views {
			if g := p.guest(v.ID); g != nil && strings.HasPrefix(v.ID, "bld-") {
				g.Exit("oom")
			}
		}
		return err
	}
	p.build("mine", fromBase(step1("RUN", "one"), step1("RUN", "two")))
	if root, did := p.rootOf("mine"); root != "/base" || did != "one;two;" {
		t.Errorf("its root is %s, and it did %q", root, did)
	}
	if err := p.rt.DeleteTemplate(t.Context(), "mine"); err != nil {
		t.Error(err)
	}
	p.wantOnlyBaseAndLayers()
}

// A build that is replaced while its image is made ends, and leaves nothing.
func TestABuildIsBrokenOffDuringAFold(t *testing.T) {
	p := withFold(t)
	begun, once := make(chan struct{}), sync.Once{}
	p.cfg.Fold = func(ctx context.Context, root string, n int64, layer, times func(context.Context, io.Writer) error) (string, func(), error) {
		first := false
		once.Do(func() { first = true })
		if !first {
			return p.fold(ctx, root, n, layer, times)
		}
		close(begun)
		<-ctx.Done()
		return "", nil, ctx.Err()
	}
	p.restart()
	first := p.begin("mine", fromBase(step1("RUN", "one")))
	<-begun
	second := p.build("mine", fromBase(step1("RUN", "two")))
	if got, _ := p.await(first); got.State != sandbox.BuildFailed || !strings.Contains(got.Failure.Message, "broken off") {
		t.Errorf("the first is %s, %+v", got.State, got.Failure)
	}
	if root, _ := p.rootOf("mine"); root != "/folded-1" {
		t.Errorf("the root is %s", root)
	}
	if err := p.rt.DeleteTemplate(t.Context(), second.TemplateID); err != nil {
		t.Error(err)
	}
	p.wantReleased()
	p.wantOnlyBaseAndLayers()
}

// A process that ends between the image and the machine that boots from it leaves a build that is reported as ended.
func TestACrashDuringAFoldLeavesNothing(t *testing.T) {
	p := withFold(t)
	reached, once := make(chan struct{}), sync.Once{}
	p.failpoint(func(at step.Step) error {
		if at == step.BuildFolded {
			once.Do(func() { close(reached) })
			select {} // the process is dead
		}
		return nil
	})
	recipe := fromBase(step1("RUN", "one"), step1("RUN", "two"))
	b := p.begin("mine", recipe)
	<-reached
	p.failpoint(nil)
	p.crashed = p.rt
	p.rt.background.Stop()
	p.open()
	if got, _ := p.await(b); got.State != sandbox.BuildFailed || !strings.Contains(got.Failure.Message, "the daemon was restarted") {
		t.Errorf("%s, %+v", got.State, got.Failure)
	}
	p.build("mine", recipe)
	if root, _ := p.rootOf("mine"); root != "/folded-2" {
		t.Errorf("the root is %s", root)
	}
	if err := p.rt.DeleteTemplate(t.Context(), "mine"); err != nil {
		t.Error(err)
	}
	collect(t.Context(), p.rt)
	p.wantOnlyBaseAndLayers()
}
