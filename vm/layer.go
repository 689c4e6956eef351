package vm

import (
	"context"
	"io"
)

// LayerReader reads what a machine has written to its root file system.
type LayerReader interface {
	// ReadLayer writes the private writable layer of the root to w, as a plain tar file: the names that were made or changed since
	// the machine booted from the root alone, each directory before what is in it, with owners, modes, times to the second, contents
	// and hard links. A character device 0:0 stands for a name of the root that was removed; a directory with the attribute
	// trusted.overlay.opaque, which no guest can set, hides what the root has in it. Sockets are left out, and extended attributes
	// may be. The guest wrote all of this: it is not to be trusted, and a file with holes can be larger than any disk. largest is
	// the size in bytes of the largest file: the machine may take twice as much memory meanwhile, and a guest that lies about it may
	// end for lack of memory (ErrOutOfMemory). The machine is running or stopped (ErrInvalidTransition), and stays so; a guest that
	// writes meanwhile waits, or its writes are in the layer or not. ErrNotFound; ErrUnsupported for a root without such a layer.
	// Nothing is written to w when the call has returned; an error of w is returned, wrapped. A w that blocks holds up the call.
	ReadLayer(ctx context.Context, id string, largest int64, w io.Writer) error
}
