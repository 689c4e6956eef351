//go:build linux

package images

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/image/catalogue"
)

func TestProgress(t *testing.T) {
	for want, p := range map[string]catalogue.Progress{
		"layers: 1.5 of 3.0 MB": {Step: "layers", Done: 1_500_000, Total: 3_000_000}, "image: 0.0 MB": {Step: "image"},
	} {
		if got := line(p); strings.ReplaceAll(got, " MB of", " of") != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	var out bytes.Buffer
	p := &progress{out: &out}
	p.show(catalogue.Progress{Step: "layers", Done: 1})
	p.show(catalogue.Progress{Step: "layers", Done: 2}) // Too soon.
	p.end()
	if got := out.String(); strings.Count(got, "layers") != 1 || !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("%q", got)
	}
	pipe, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	for _, p := range []*progress{newProgress(pipe, false), newProgress(pipe, true), newProgress(&out, false)} {
		p.show(catalogue.Progress{Step: "layers"})
		p.end()
		if p.out != nil || p.used {
			t.Error("progress without a terminal")
		}
	}
}
