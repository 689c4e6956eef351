package runtime

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/runtime/pool"
)

// A daemon that runs notices that the host changed: new sandboxes are made from a
// template of what is there now.
func TestTheTemplateFollowsTheHost(t *testing.T) {
	warmed(t, pool.Target{Ready: 1}, func(t *testing.T, f *fixture) {
		host := "before"
		f.rt.Close()
		f.cfg.HostStamp = func() string { return host }
		f.open()
		defer f.rt.Close()
		ctx := context.Background()
		f.rt.templates.Refresh(ctx) // The template was not requested yet.
		f.create(hours)
		before := f.template()
		look := func() string {
			t.Helper()
			f.rt.templates.Refresh(ctx)
			return f.template().BuildID
		}
		for range 2 {
			if look() != before.BuildID {
				t.Error("it was built anew though nothing changed")
			}
		}
		host = "in between"
		f.setStamp("v2")
		if look() != before.BuildID {
			t.Error("it was built while the host was changing")
		}
		host = "after"
		if look() != before.BuildID {
			t.Error("it was built while the host was changing")
		}
		f.failNext("base", 1)
		if look() != before.BuildID {
			t.Error("a failed build replaced the template")
		}
		f.create(hours) // from the former one
		after := look()
		if after == before.BuildID {
			t.Fatal("it was not built anew")
		}
		if look() != after {
			t.Error("it was built twice")
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait() // for the pool
		f.forgetHistory()
		if sb := f.create(hours); f.row(sb.ID).BuildID != after {
			t.Errorf("a new sandbox is of build %s, want %s", f.row(sb.ID).BuildID, after)
		}
		host = "after, and nothing of it matters" // Its image is the same.
		for range 2 {
			if look() != after {
				t.Error("it was built anew though the image is the same")
			}
		}
	})
}
