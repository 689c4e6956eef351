package runtime

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/runtime/build/fold"
	"github.com/rundlet/rundlet/sandbox"
)

var errGone = errors.New("the root is gone")

// press makes images of what builds of a workshop wrote, and answers for their agents.
type press struct {
	*workshop
	state  envd.RootState
	before func() error // of an image; may be nil

	mu       sync.Mutex
	held     map[string]int // how often each image is held
	gone     string         // the root that cannot be held
	made     []string       // the names of the files of each, and of the root that it is over
	restored []envd.Extra
	asked    []string // the queries for the state of a root
}

// withFold gives a workshop builds whose steps wrote enough for an image.
func withFold(t *testing.T) *press {
	p := &press{workshop: newWorkshop(t), state: envd.RootState{LayerBytes: 2 * fold.Least, LargestBytes: 5}, held: map[string]int{}}
	p.workshop.mu.Lock()
	p.shell = func(c shellCommand) (string, int) {
		if strings.HasPrefix(c.text, "git rev-parse") {
			return head + "\nrefs/heads/main\n", 0
		}
		if g := p.guest(c.id); g != nil && !strings.Contains(c.text, " ") {
			g.SetFile(c.text, "by a step")
		}
		return p.run(c)
	}
	p.workshop.mu.Unlock()
	p.root = p.answer
	p.cfg.Fold, p.cfg.Hold = p.fold, p.hold
	p.restart()
	return p
}

func (p *press) answer(_ string, req *http.Request) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case req.URL.Path == envd.RootTimesPath:
		return "times", true
	case req.Method == http.MethodPost:
		if p.step("restore") != nil {
			return "", false
		}
		var in envd.ExtrasRequest
		err := json.NewDecoder(req.Body).Decode(&in)
		p.restored = in.Extras
		return "", err == nil
	}
	p.asked = append(p.asked, req.URL.RawQuery)
	text, err := json.Marshal(p.state)
	return string(text), err == nil && p.step("look") == nil
}

func (p *press) fold(ctx context.Context, root string, layerBytes int64, layer, times func(context.Context, io.Writer) error) (string, func(), error) {
	if p.before != nil {
		if err := p.before(); err != nil {
			return "", nil, err
		}
	}
	var data, exact bytes.Buffer
	if err := errors.Join(p.step("fold"), layer(ctx, &data), times(ctx, &exact)); err != nil {
		return "", nil, err
	}
	if exact.String() != "times" || layerBytes != p.state.LayerBytes {
		return "", nil, fmt.Errorf("the times are %q, of %d bytes", exact.String(), layerBytes)
	}
	names := []string{root}
	for r := tar.NewReader(&data); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", nil, err
		}
		names = append(names, strings.TrimPrefix(h.Name, "./"))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.made = append(p.made, strings.Join(names, " "))
	image := "/folded-" + fmt.Sprint(len(p.made))
	p.held[image]++
	return image, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.held[image]--
	}, nil
}

func (p *press) hold(ctx context.Context, root string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone == root {
		return errGone
	}
	p.held[root]++
	context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.held[root]--
	})
	return nil
}

// rootOf is the root of a new sandbox of a template, and what it has in memory of commands.
func (p *press) rootOf(name string) (root, did string) {
	p.t.Helper()
	sb := p.create(func(req *sandbox.CreateRequest) { req.Template = name })
	g := p.guest(sb.ID)
	root, did = g.Spec().Rootfs, g.Get("did")
	if err := p.rt.Kill(p.t.Context(), sb.ID); err != nil {
		p.t.Error(err)
	}
	return root, did
}

// wantReleased waits until nothing holds an image but rows.
func (p *press) wantReleased() {
	p.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		p.mu.Lock()
		held := 0
		for _, n := range p.held {
			held += n
		}
		p.mu.Unlock()
		if held == 0 {
			return
		}
		select {
		case <-deadline:
			p.t.Fatalf("images are held: %v", p.held)
		case <-time.After(time.Millisecond): // It is released after the outcome.
		}
	}
}
