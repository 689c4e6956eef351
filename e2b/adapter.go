package e2b

import (
	"context"
	"net"
	"time"

	"github.com/rundlet/rundlet/runtime"
)

// RuntimeAdapter is what the E2B surface needs of a runtime. It is implemented
// by *runtime.Runtime; tests use a fake. All methods are safe for concurrent
// use and return the error classes of package runtime.
type RuntimeAdapter interface {
	// Create returns when the sandbox answers, or with an error and nothing
	// left behind.
	Create(ctx context.Context, req runtime.CreateRequest) (runtime.Sandbox, error)
	// Connect extends the time-out to at least now+timeout, never shortens it,
	// and resumes a paused sandbox (resumed reports that it did).
	Connect(ctx context.Context, id string, timeout time.Duration) (sb runtime.Sandbox, resumed bool, err error)
	// Get returns running and paused sandboxes; ErrSandboxNotFound for others.
	Get(ctx context.Context, id string) (runtime.Sandbox, error)
	List(ctx context.Context, f runtime.ListFilter) ([]runtime.Sandbox, error)
	// Kill returns when nothing is left of the sandbox. ErrSandboxNotFound if
	// it is not there (any more).
	Kill(ctx context.Context, id string) error
	// SetTimeout ends the sandbox at now+timeout, earlier or later than before.
	SetTimeout(ctx context.Context, id string, timeout time.Duration) error
	// Extend is SetTimeout that never shortens.
	Extend(ctx context.Context, id string, timeout time.Duration) error
	// Dial opens a stream to a TCP port in the sandbox: ErrNotRunning (also for
	// an unknown id), ErrPortClosed, ErrConflict.
	Dial(ctx context.Context, id string, port uint16) (net.Conn, error)
	// Templates lists the templates that a sandbox can be created from.
	Templates(ctx context.Context) ([]runtime.Template, error)
	// Template finds one by id or alias, with or without a tag.
	Template(ctx context.Context, name string) (runtime.Template, error)
}
