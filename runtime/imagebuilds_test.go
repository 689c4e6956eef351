package runtime

import (
	"context"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// withImages gives a workshop images whose variables are env.
func withImages(t *testing.T, env map[string]string) *workshop {
	w := newWorkshop(t)
	w.cfg.Image = func(_ context.Context, name string, _ *sandbox.Registry, _ func(string)) (template.Image, error) {
		return template.Image{Spec: vm.Spec{Rootfs: "/" + name, Args: []string{"/agent"}}, Stamp: name, Env: env}, nil
	}
	w.restart()
	return w
}

// The variables of an image are those of the steps, and of the sandboxes.
func TestVariablesOfAnImageReachItsSandboxes(t *testing.T) {
	w := withImages(t, map[string]string{"FROM": "image", "LD_PRELOAD": "/x.so"})
	w.build("mine", sandbox.Recipe{FromImage: "app", Steps: []sandbox.RecipeStep{step1("RUN", "one"), step1("ENV", "FROM", "recipe")}})
	w.mu.Lock()
	if c := w.ran[0]; c.text != "one" || c.env["FROM"] != "image" || c.env["LD_PRELOAD"] != "/x.so" {
		t.Errorf("its step has %+v", c)
	}
	w.mu.Unlock()
	sb := w.create(func(req *sandbox.CreateRequest) { req.Template = "mine" })
	if env, err := w.db.Environments.Get(t.Context(), sb.ID); err != nil || env["FROM"] != "recipe" || env["LD_PRELOAD"] != "/x.so" {
		t.Errorf("its sandbox has %v, %v", env, err)
	}
}

// A template with more variables than a sandbox can have would make none.
func TestVariablesOfATemplateAreBounded(t *testing.T) {
	large := map[string]string{}
	for _, name := range strings.Split("ABCDEFGHI", "") {
		large[name] = strings.Repeat("x", sandbox.MaxVariable-10)
	}
	w := withImages(t, large)
	b, _ := w.await(w.begin("mine", sandbox.Recipe{FromImage: "app"}))
	if b.Failure == nil || b.Failure.Step != sandbox.StepBase || !strings.Contains(b.Failure.Message, "at most 1048576 are allowed") {
		t.Errorf("an image: %+v", b.Failure)
	}
	double := fromBase(step1("ENV", "A", strings.Repeat("x", 1<<14)))
	for range 3 {
		double.Steps = append(double.Steps, step1("ENV", "A", "$A$A"))
	}
	b, _ = w.await(w.begin("other", double))
	if b.Failure == nil || b.Failure.Step != "4" || !strings.Contains(b.Failure.Message, "at most 131072 are allowed") {
		t.Errorf("a variable that grows: %+v", b.Failure)
	}
	many := fromBase()
	for name, value := range large {
		many.Steps = append(many.Steps, step1("ENV", name, value))
	}
	b, _ = w.await(w.begin("third", many))
	if b.Failure == nil || b.Failure.Step != "9" || !strings.Contains(b.Failure.Message, "at most 1048576 are allowed") {
		t.Errorf("many variables: %+v", b.Failure)
	}
}
