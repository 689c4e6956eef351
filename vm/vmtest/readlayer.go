package vmtest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"path"
	"strings"
	"sync"

	"github.com/rundlet/rundlet/vm"
)

// layerSize is more than a pipe holds.
const layerSize = 1 << 20

// layer reads the layer of a machine, and returns the contents of its regular files by the last names of their paths.
func (e *env) layer(id string) map[string]string {
	e.Helper()
	var data bytes.Buffer
	e.ok(e.readLayer(e.ctx, id, layerSize, &data))
	files := map[string]string{}
	for r := tar.NewReader(&data); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		e.ok(err)
		if h.Typeflag == tar.TypeReg {
			content, err := io.ReadAll(r)
			e.ok(err)
			files[path.Base(h.Name)] = string(content)
		}
	}
}

func (e *env) readLayer(ctx context.Context, id string, largest int64, w io.Writer) error {
	return e.d.(vm.LayerReader).ReadLayer(ctx, id, largest, w)
}

var readLayerRules = []rule{
	{name: "read_layer/has-the-files-of-a-running-and-of-a-stopped-machine", capability: vm.CapabilityReadLayer, needs: []string{"Files"}, run: func(e *env) {
		e.running("a")
		long := strings.Repeat("some content", layerSize/12)
		e.writeFile("a", "long", long)
		e.writeFile("a", "f", "v")
		wanted := func(f string) {
			e.Helper()
			if got := e.layer("a"); got["f"] != f || got["long"] != long {
				e.Errorf("the layer has %q in f, want %q, and %d bytes in the other file, want %d", got["f"], f, len(got["long"]), len(long))
			}
		}
		wanted("v")
		e.status("a", vm.StatusRunning)
		e.writeFile("a", "f", "w")
		e.ok(e.d.Stop(e.ctx, "a"))
		wanted("w")
		e.status("a", vm.StatusStopped)
		e.ok(e.d.Start(e.ctx, "a"))
		e.readFile("a", "f", "w")
	}},
	{name: "read_layer/has-the-files-of-a-restored-machine", capability: vm.CapabilityReadLayer, needs: []string{"Files"}, run: func(e *env) {
		e.running("a")
		e.writeFile("a", "f", "v")
		e.snapshot("a", "one")
		e.restore("b", "a", "one", true)
		e.writeFile("b", "g", "w")
		if got := e.layer("b"); got["f"] != "v" || got["g"] != "w" {
			e.Errorf("the layer has %q and %q, want v and w", got["f"], got["g"])
		}
		if got := e.layer("a"); got["g"] != "" {
			e.Error("the layer has a file of another machine")
		}
	}},
	{name: "read_layer/only-of-a-machine-that-ran", capability: vm.CapabilityReadLayer, run: func(e *env) {
		refused := func(id string, class error) {
			e.Helper()
			var out bytes.Buffer
			if e.is(e.readLayer(e.ctx, id, layerSize, &out), class); out.Len() > 0 {
				e.Errorf("%d bytes were written for %s", out.Len(), id)
			}
		}
		refused("a", vm.ErrNotFound)
		e.created("a")
		refused("a", vm.ErrInvalidTransition)
		e.status("a", vm.StatusCreated)
		e.destroyed("c")
		refused("c", vm.ErrInvalidTransition)
	}},
	{name: "read_layer/a-negative-size-is-invalid", capability: vm.CapabilityReadLayer, run: func(e *env) {
		e.running("a")
		e.is(e.readLayer(e.ctx, "a", -1, io.Discard), vm.ErrInvalid)
	}},
	{name: "read_layer/an-error-of-the-writer-ends-it", capability: vm.CapabilityReadLayer, needs: []string{"Files"}, run: func(e *env) {
		e.running("a")
		e.writeFile("a", "long", strings.Repeat("x", layerSize))
		failed := errors.New("the disk is full")
		e.is(e.readLayer(e.ctx, "a", layerSize, writerFunc(func([]byte) (int, error) { return 0, failed })), failed)
		e.status("a", vm.StatusRunning)
		if got := e.layer("a"); len(got["long"]) != layerSize {
			e.Errorf("the layer has %d bytes afterwards, want %d", len(got["long"]), layerSize)
		}
	}},
	{name: "read_layer/not-after-the-end-of-its-context", capability: vm.CapabilityReadLayer, run: func(e *env) {
		e.running("a")
		var out bytes.Buffer
		if e.is(e.readLayer(e.ended(), "a", layerSize, &out), context.Canceled); out.Len() > 0 {
			e.Errorf("%d bytes were written", out.Len())
		}
		e.status("a", vm.StatusRunning)
	}},
	{name: "read_layer/of-a-machine-that-hangs-returns", capability: vm.CapabilityReadLayer, needs: []string{"Hang"}, run: func(e *env) {
		e.running("a")
		var mu sync.Mutex
		returned := false
		release := e.abandon("read layer", "a", func(ctx context.Context) error {
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				returned = true
			}()
			return e.readLayer(ctx, "a", layerSize, writerFunc(func(p []byte) (int, error) {
				mu.Lock()
				defer mu.Unlock()
				if returned {
					e.Error("the call writes after its end")
				}
				return len(p), nil
			}))
		})
		release()
		e.ok(e.d.Destroy(e.ctx, "a"))
	}},
}

type writerFunc func(p []byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }
