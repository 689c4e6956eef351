// Package kernel has what kernels of all languages have in common: the events that a client of
// the code interpreter reads, the calls of the server, and the end of a process. It imports golang.org/x/sys/unix and the standard library only.
package kernel

import (
	"context"
	"errors"
	"time"
)

// Event is a line of the answer to a client: an object with a "type", as E2B's SDKs read it.
type Event map[string]any

// Emit sends an event to a client, and blocks while the client does not read. After an error, the
// client is gone.
type Emit func(Event) error

// Run is code for a kernel.
type Run struct {
	Code string
	// Env are variables of this run alone.
	Env map[string]string
	// Sandbox are variables of the sandbox, which the kernel takes over when they are others than before.
	Sandbox map[string]string
	// Generation changes when the sandbox continues in a copy of its machine.
	Generation string
}

// Kernel runs code, one run after the other, and keeps the state of the runs. Its methods are safe for concurrent use.
type Kernel interface {
	// Run runs code, and returns when it has ended and all of its output was emitted. An error of
	// the code is an event and not an error of Run. If ctx ends or emit fails, the code is
	// interrupted, and Run returns at once. ErrEnded is returned if the kernel ends meanwhile.
	Run(ctx context.Context, run Run, emit Emit) error
	// Done is closed when the kernel has ended.
	Done() <-chan struct{}
	// Why says how the kernel ended.
	Why() string
	// Close kills the kernel and all that its code has started in its process group, and waits for it.
	Close()
}

// ErrEnded is returned for a kernel that has ended.
var ErrEnded = errors.New("kernel has ended")

// Output is an event with output: stream is "stdout" or "stderr".
func Output(stream, text string) Event {
	return Event{"type": stream, "text": text, "timestamp": time.Now().UnixNano()}
}

// Error is an event with an error of the code.
func Error(name, value, traceback string) Event {
	return Event{"type": "error", "name": name, "value": value, "traceback": traceback}
}

// Count is an event with the number of runs of a kernel.
func Count(n int) Event { return Event{"type": "number_of_executions", "execution_count": n} }
