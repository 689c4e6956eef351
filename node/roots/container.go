//go:build linux

package roots

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// containerBase is the base made of a container image, whose name the operator has given.
type containerBase struct {
	name   string
	images *images
	db     *store.Store
	log    func(line string)

	mu   sync.Mutex
	last string // what stamp returned
}

// image returns the root of the base. The image is pulled if it is not here; if that fails, and the base that is stored was made of an
// image of that name, it is that one.
func (b *containerBase) image(ctx context.Context) (template.Image, error) {
	img, err := b.images.root(ctx, b.name, nil, b.log)
	if err != nil {
		if stored, found := storedContainer(ctx, b.db, b.name); found {
			b.log(fmt.Sprintf("the base template stays as it is: %v", err))
			return stored, nil
		}
		return img, &sandbox.PrepareError{Err: err}
	}
	img.Stamp = containerStamp + b.name + "=" + img.Stamp
	if err := sandbox.CheckEnvironment(img.Env); err != nil {
		return img, fmt.Errorf("image %.300s: %w", b.name, err)
	}
	variables, err := json.Marshal(img.Env)
	if len(variables) >= maxVariables {
		return img, fmt.Errorf("image %.300s: its variables take %d KiB, of at most %d", b.name, len(variables)>>10, maxVariables>>10)
	}
	img.Spec.Env = append(img.Spec.Env, envd.VariablesName+"="+string(variables))
	return img, err
}

// maxVariables bounds them: Linux has at most 128 KiB for one, with its name.
const maxVariables = 120 << 10

// stamp changes when another image has the name. When none has it any more, the base stays: it is not pulled again for that.
func (b *containerBase) stamp() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if entry, err := b.images.catalogue.Find(b.name); err == nil {
		b.last = entry.File
	}
	return b.last
}

// containerStamp begins the word in the stamp of a base that is made of a container image: its name and the stamp of its root follow.
const containerStamp = "container:"

// storedContainer returns the root of the base that is stored, if it was made of a container image with a name; an empty name means any.
func storedContainer(ctx context.Context, db *store.Store, name string) (img template.Image, found bool) {
	all, err := db.Templates.All(ctx)
	if err != nil {
		return img, false
	}
	for _, t := range all {
		for word := range strings.FieldsSeq(t.Stamp) {
			of, ok := strings.CutPrefix(word, containerStamp)
			if !ok || t.Alias != template.BaseAlias || name != "" && !strings.HasPrefix(of, name+"=") {
				continue
			}
			var spec vm.Spec
			if json.Unmarshal(t.Spec, &spec) != nil {
				return img, false
			}
			return template.Image{Spec: spec, Stamp: word}, true
		}
	}
	return img, false
}
