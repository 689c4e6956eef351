package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/runtime/build/recipe"
	"github.com/rundlet/rundlet/runtime/build/steps"
)

// copy puts uploaded files into the template.
func (w *work) copy(ctx context.Context, c recipe.Copy) error {
	destination, err := w.shell.Expand(ctx, c.Destination)
	if err != nil {
		return err
	}
	path, content, err := w.b.files.Find(w.template.ID, c.Hash)
	if err != nil {
		return err
	}
	// Layers are named by the content that was there when the build began: others must not get another one for it.
	if path == "" || content != w.contents[c.Hash] {
		return fmt.Errorf("the files of COPY %s are not there any more: upload them again", c.Source)
	}
	archive, err := os.Open(path)
	if err != nil {
		return err
	}
	defer archive.Close()
	err = w.shell.Site.Copy(ctx, envd.CopyRequest{
		Source: c.Source, Destination: destination, User: cmp.Or(w.shell.Defaults.User, steps.DefaultUser), Owner: c.User, Mode: c.Mode,
		Workdir: w.shell.Defaults.Workdir,
	}, archive)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if refused := new(envd.StatusError); errors.As(err, &refused) {
		return errors.New(refused.Message) // It is written for the author of the step.
	}
	return err
}
