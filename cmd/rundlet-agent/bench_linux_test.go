package main

import (
	"slices"
	"testing"
	"time"

	"github.com/rundlet/rundlet/envd"
)

// BenchmarkInit is the request that every create waits for, each in a sandbox
// restored for it: to a template's agent without and with a boot id, and to the
// agent of a copied sandbox. They take turns, so that what else the machine does
// is shared among them.
func BenchmarkInit(b *testing.B) {
	n := newNode(b)
	template, sandbox := n.boot(), n.boot()
	template.snapshot("s")
	bootID := func(req *envd.InitRequest) { req.BootID = parentBootID }
	sandbox.init(bootID)
	sandbox.snapshot("s")
	other := func(req *envd.InitRequest) { req.BootID = childBootID[:35] + "1" }
	variants := []struct {
		name   string
		source *box
		change []func(*envd.InitRequest)
		all    []time.Duration
	}{
		{name: "plain", source: template},
		{name: "bootid", source: template, change: []func(*envd.InitRequest){bootID}},
		{name: "restored", source: sandbox, change: []func(*envd.InitRequest){other, restored(sandbox)}},
	}
	for b.Loop() {
		for i := range variants {
			v := &variants[i]
			child := v.source.restore(v.source, "s")
			begin := time.Now()
			child.init(v.change...)
			v.all = append(v.all, time.Since(begin))
			if err := child.driver.Destroy(b.Context(), child.id); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, v := range variants {
		slices.Sort(v.all)
		b.ReportMetric(float64(v.all[0].Microseconds()), v.name+"-min-us")
		b.ReportMetric(float64(v.all[len(v.all)/2].Microseconds()), v.name+"-p50-us")
	}
}
