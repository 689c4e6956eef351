package vmtest_test

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/rundlet/rundlet/vm"
)

// readLayerMutants read layers in a way that is noticed.
var readLayerMutants = []mutant{
	{"the layer is that of before", "read_layer/has-the-files-of-a-running-and-of-a-stopped-machine", func(b *broken) {
		var first []byte
		b.readLayer = func(ctx context.Context, id string, largest int64, w io.Writer) error {
			if first == nil {
				var out bytes.Buffer
				if err := b.Driver.ReadLayer(ctx, id, largest, &out); err != nil {
					return err
				}
				first = out.Bytes()
			}
			_, err := w.Write(first)
			return err
		}
	}},
	{"reading freezes the machine", "read_layer/has-the-files-of-a-running-and-of-a-stopped-machine", func(b *broken) {
		b.readLayer = func(ctx context.Context, id string, largest int64, w io.Writer) error {
			return errors.Join(b.Driver.ReadLayer(ctx, id, largest, w), b.Driver.Stop(ctx, id))
		}
	}},
	{"the files of a snapshot are not in the layer", "read_layer/has-the-files-of-a-restored-machine", func(b *broken) {
		b.readLayer = func(ctx context.Context, id string, largest int64, w io.Writer) error {
			if g := b.Driver.Guest(id); g != nil && id == "b" {
				g.SetFile("f", "")
			}
			return b.Driver.ReadLayer(ctx, id, largest, w)
		}
	}},
	{"any machine has a layer", "read_layer/only-of-a-machine-that-ran", func(b *broken) {
		b.readLayer = func(ctx context.Context, id string, largest int64, w io.Writer) error {
			err := b.Driver.ReadLayer(ctx, id, largest, w)
			if errors.Is(err, vm.ErrInvalidTransition) {
				err = nil
			}
			return err
		}
	}},
	{"a size is not checked", "read_layer/a-negative-size-is-invalid", func(b *broken) {
		b.readLayer = func(ctx context.Context, id string, _ int64, w io.Writer) error {
			return b.Driver.ReadLayer(ctx, id, 0, w)
		}
	}},
	{"an error of the writer is lost", "read_layer/an-error-of-the-writer-ends-it", func(b *broken) {
		b.readLayer = func(ctx context.Context, id string, largest int64, w io.Writer) error {
			var out bytes.Buffer
			if err := b.Driver.ReadLayer(ctx, id, largest, &out); err != nil {
				return err
			}
			_, _ = w.Write(out.Bytes())
			return nil
		}
	}},
	{"the context is not looked at before", "read_layer/not-after-the-end-of-its-context", func(b *broken) {
		b.readLayer = func(ctx context.Context, id string, largest int64, w io.Writer) error {
			return b.Driver.ReadLayer(context.WithoutCancel(ctx), id, largest, w)
		}
	}},
	{"the call waits for a machine that hangs", "read_layer/of-a-machine-that-hangs-returns", func(b *broken) {
		b.readLayer = func(ctx context.Context, id string, largest int64, w io.Writer) error {
			return b.Driver.ReadLayer(context.WithoutCancel(ctx), id, largest, w)
		}
	}},
}
