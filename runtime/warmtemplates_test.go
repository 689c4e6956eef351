package runtime

import (
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/sandbox"
)

// Sandboxes of a template come out of the pool, with all that its build gave them, and only those of the build that the
// name means.
func TestATemplateIsKeptWarm(t *testing.T) {
	w := newWorkshop(t)
	w.cfg.WarmTemplates = map[string]pool.Target{"mine": {Ready: 1}}
	w.restart()
	await := func(ready int) {
		t.Helper()
		deadline := time.After(20 * time.Second)
		for w.warmOf("mine") != ready {
			select {
			case <-deadline:
				t.Fatalf("%d are warm, want %d", w.warmOf("mine"), ready)
			case <-time.After(time.Millisecond):
			}
		}
	}
	made := func(change func(*sandbox.CreateRequest)) (sandbox.Sandbox, bool) {
		t.Helper()
		w.refill(false)
		w.forgetHistory()
		sb := w.create(func(req *sandbox.CreateRequest) {
			req.Template = "mine"
			change(req)
		})
		restored := false
		for _, event := range w.history() {
			restored = restored || event == "create"
		}
		w.refill(true)
		return sb, restored
	}
	w.build("mine", fromBase(step1("ENV", "A", "1"), step1("RUN", "one"), step1("USER", "ann")), "default", "v1")
	for name, change := range map[string]func(*sandbox.CreateRequest){
		"as it is":      func(*sandbox.CreateRequest) {},
		"with more":     func(req *sandbox.CreateRequest) { req.Env = map[string]string{"B": "2"} },
		"without token": func(req *sandbox.CreateRequest) { req.Secure = false },
	} {
		await(1)
		sb, restored := made(change)
		if restored || !strings.HasPrefix(w.guest(sb.ID).Get("did"), "one;") {
			t.Errorf("%s: restored: %v; it did %q", name, restored, w.guest(sb.ID).Get("did"))
		}
		if init := w.initOf(sb.ID); init.DefaultUser != "ann" || !init.Restored {
			t.Errorf("%s: its agent got %+v", name, init)
		}
		if env, err := w.db.Environments.Get(t.Context(), sb.ID); err != nil || env["A"] != "1" {
			t.Errorf("%s: its environment is %v, %v", name, env, err)
		}
	}
	await(1)
	w.build("mine", fromBase(step1("RUN", "two")))
	for warm := false; !warm; { // The pool learns of the build a moment after its clients.
		await(1)
		sb, restored := made(func(*sandbox.CreateRequest) {})
		if got := w.guest(sb.ID).Get("did"); got != "two;" {
			t.Fatalf("of another build: it did %q", got)
		}
		if err := w.rt.Kill(t.Context(), sb.ID); err != nil {
			t.Fatal(err)
		}
		warm = !restored
	}
	await(1)
	if sb, restored := made(func(req *sandbox.CreateRequest) { req.Template = "mine:v1" }); !restored || !strings.HasPrefix(w.guest(sb.ID).Get("did"), "one;") {
		t.Errorf("a tag: restored: %v; it did %q", restored, w.guest(sb.ID).Get("did"))
	}
	w.restart()
	await(1)
	if err := w.rt.DeleteTemplate(t.Context(), "mine"); err != nil {
		t.Fatal(err)
	}
	await(0)
}

// warmOf is how many machines of a template are warm.
func (w *workshop) warmOf(name string) (ready int) {
	figures, err := w.rt.Figures(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range figures.WarmPools {
		if p.Template == name {
			ready += p.Ready
		}
	}
	return ready
}
