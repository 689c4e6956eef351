package vmtest

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/rundlet/rundlet/vm"
)

var infoRules = []rule{
	{name: "info/capabilities-agree-with-interfaces", run: func(e *env) {
		info := e.d.Info()
		have := implements(e.d)
		for c, ok := range have {
			if info.Has(c) != ok {
				e.Errorf("capability %s: Info says %v, the interface says %v", c, info.Has(c), ok)
			}
		}
		for _, c := range info.Capabilities {
			if _, ok := have[c]; !ok {
				e.Errorf("Info lists %q, which is not a capability", c)
			}
		}
	}},
	{name: "info/capabilities-are-sorted-and-unique", run: func(e *env) {
		caps := e.d.Info().Capabilities
		if !slices.IsSorted(caps) || len(slices.Compact(slices.Clone(caps))) != len(caps) {
			e.Errorf("capabilities are %q", caps)
		}
	}},
	{name: "info/names-the-driver", run: func(e *env) {
		if i := e.d.Info(); i.Driver == "" || i.Version == "" || i.Isolation == "" {
			e.Errorf("a field of %+v is empty", i)
		}
	}},
	{name: "info/is-constant", run: func(e *env) {
		before := e.d.Info()
		e.running("a")
		if after := e.d.Info(); !reflect.DeepEqual(before, after) {
			e.Errorf("Info was %+v and is %+v", before, after)
		}
	}},
}

var queryRules = []rule{
	{name: "list/empty-without-machines", run: func(e *env) {
		views, err := e.d.List(e.ctx)
		e.ok(err)
		if len(views) != 0 {
			e.Errorf("list is %+v", views)
		}
	}},
	{name: "list/sorted-and-includes-destroyed", run: func(e *env) {
		e.created("c")
		e.destroyed("a")
		e.created("d")
		e.running("b")
		views, err := e.d.List(e.ctx)
		e.ok(err)
		var got []string
		for _, v := range views {
			got = append(got, v.ID+" "+string(v.Status))
		}
		if want := []string{"a destroyed", "b running", "c created", "d created"}; !slices.Equal(got, want) {
			e.Errorf("list is %q, want %q", got, want)
		}
	}},
	{name: "list/agrees-with-get", run: func(e *env) {
		e.running("a")
		e.snapshot("a", "one")
		e.destroyed("b")
		views, err := e.d.List(e.ctx)
		e.ok(err)
		for _, v := range views {
			if got := e.view(v.ID); !reflect.DeepEqual(got, v) {
				e.Errorf("Get is %+v, List has %+v", got, v)
			}
		}
	}},
	{name: "get/unknown-is-none-not-an-error", run: func(e *env) {
		e.created("a")
		e.unknown("b")
		e.unknown("")
		e.unknown("../a")
	}},
	{name: "get/destroyed-stays-queryable", run: func(e *env) {
		e.destroyed("a")
		e.status("a", vm.StatusDestroyed)
	}},
	{name: "get/view-is-a-copy", run: func(e *env) {
		e.running("a")
		e.snapshot("a", "one")
		e.view("a").Snapshots[0] = "changed"
		names, _, err := e.d.ListSnapshots(e.ctx, "a")
		e.ok(err)
		names[0] = "changed"
		e.snapshots("a", "one")
	}},
	{name: "get/status-is-spelled-in-lower-case", run: func(e *env) {
		e.running("a")
		text, err := json.Marshal(e.view("a"))
		e.ok(err)
		if !strings.Contains(string(text), `"status":"running"`) {
			e.Errorf("view is written as %s", text)
		}
	}},
	{name: "list-snapshots/unknown-is-none-not-an-error", run: func(e *env) {
		for _, id := range []string{"a", "", "../a"} {
			if names, ok, err := e.d.ListSnapshots(e.ctx, id); ok || err != nil {
				e.Errorf("ListSnapshots(%q) is %q, %v, %v", id, names, ok, err)
			}
		}
	}},
	{name: "list-snapshots/in-creation-order", run: func(e *env) {
		e.running("a")
		e.snapshots("a")
		e.snapshot("a", "z")
		e.snapshot("a", "b.1")
		e.snapshot("a", "m")
		e.snapshots("a", "z", "b.1", "m")
	}},
	{name: "query/never-waits-for-a-lifecycle-call", needs: []string{"Hold"}, run: func(e *env) {
		e.running("a")
		e.held("stop", "a", func() error { return e.d.Stop(e.ctx, "a") }, func() {
			e.status("a", vm.StatusRunning)
			e.snapshots("a")
			_, err := e.d.List(e.ctx)
			e.ok(err)
		})
		e.status("a", vm.StatusStopped)
	}},
}
