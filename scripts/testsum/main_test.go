package main

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"
)

func TestSummarise(t *testing.T) {
	const (
		pass  = `{"Action":"run","Package":"p","Test":"A"}` + "\n" + `{"Action":"output","Package":"p","Test":"A","Output":"noise\n"}` + "\n" + `{"Action":"pass","Package":"p","Test":"A"}` + "\n"
		skip  = `{"Action":"output","Package":"p","Test":"S","Output":"no KVM\n"}` + "\n" + `{"Action":"skip","Package":"p","Test":"S"}` + "\n"
		fail  = `{"Action":"output","Package":"p","Test":"F","Output":"got 1, want 2\n"}` + "\n" + `{"Action":"fail","Package":"p","Test":"F"}` + "\n"
		good  = `{"Action":"pass","Package":"p","Elapsed":1.5}` + "\n"
		bad   = `{"Action":"output","Package":"p","Output":"panic: out of time\n"}` + "\n" + `{"Action":"fail","Package":"p"}` + "\n"
		slow  = `{"Action":"pass","Package":"p","Test":"Slow","Elapsed":2}` + "\n" + `{"Action":"pass","Package":"p","Test":"Slower","Elapsed":3}` + "\n"
		build = `{"ImportPath":"p","Action":"build-output","Output":"x.go:1: undefined: y\n"}` + "\n" + `{"ImportPath":"p","Action":"build-fail"}` + "\n"
	)
	for name, c := range map[string]struct {
		in     string
		failed bool
		want   []string
	}{
		"all pass":    {pass + good, false, []string{"ok   p 1.5s", "1 passed, 0 failed"}},
		"slow":        {pass + slow + good, false, []string{"slow p Slower 3.0s\nslow p Slow 2.0s\ngo test"}},
		"skip":        {pass + skip + good, false, []string{"SKIP p S\nno KVM", "1 skipped", "1 passed, 0 failed"}},
		"fail":        {pass + fail + bad, true, []string{"FAIL p F\ngot 1, want 2", "1 passed, 1 failed"}},
		"panic":       {bad, true, []string{"panic: out of time", "0 passed, 1 failed"}},
		"no build":    {build + bad, true, []string{"x.go:1: undefined: y", "0 passed, 1 failed"}},
		"other lines": {"go: downloading x\n" + pass + good, false, []string{"go: downloading x", "1 passed"}},
		"cut line":    {pass + `{"Action":"pa`, false, []string{`{"Action":"pa`, "1 passed"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			failed, err := summarise(&out, strings.NewReader(c.in))
			if failed != c.failed || err != nil {
				t.Errorf("failed = %v, %v", failed, err)
			}
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in:\n%s", want, out.String())
				}
			}
			if strings.Contains(out.String(), "noise") {
				t.Errorf("output of a test that passed:\n%s", out.String())
			}
		})
	}
	var out strings.Builder
	failed, err := summarise(&out, strings.NewReader(`{"Action":"pass","Package":"p","Test":"A"}`), strings.NewReader(`{"Action":"fail","Package":"q","Test":"B"}`))
	if !failed || err != nil || !strings.Contains(out.String(), "1 passed, 1 failed") {
		t.Errorf("two streams: failed = %v, %v\n%s", failed, err, out.String())
	}
	if failed, err := summarise(&strings.Builder{}, iotest.ErrReader(errors.New("pipe broke")), strings.NewReader("")); !failed || err == nil {
		t.Errorf("a broken stream: %v, %v", failed, err)
	}
}
