//go:build linux

package jupyter

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/rundlet/rundlet/agent/interpreter/kernel"
	"github.com/rundlet/rundlet/agent/interpreter/zmtp"
)

// askAgain is how long a request at the start is waited for: a kernel drops what it publishes
// before it knows its subscriber.
const askAgain = 500 * time.Millisecond

// Kernel is a kernel.Kernel.
type Kernel struct {
	*process
	signer
	shell, iopub *zmtp.Conn
	turn         chan struct{} // Holds a value while code runs.

	mu      sync.Mutex
	ids     int
	current *execution
}

// execution is code that runs.
type execution struct {
	id     string
	events chan kernel.Event
	idle   chan struct{} // Closed when the kernel is done with it.
	gone   chan struct{} // Closed when the client has left.
}

// Start starts a kernel, and waits until it runs code.
func Start(ctx context.Context, cfg Config) (*Kernel, error) {
	key := newKey()
	p, err := spawn(ctx, cfg, key)
	if err != nil {
		return nil, err
	}
	k := &Kernel{process: p, signer: signer{key: []byte(key), session: newKey()}, turn: make(chan struct{}, 1)}
	if err := k.connect(ctx); err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

// connect connects to the kernel, and asks it for its name until it answers where output comes.
func (k *Kernel) connect(ctx context.Context) (err error) {
	if k.shell, err = k.dial(ctx, "1", zmtp.Dealer); err != nil {
		return err
	}
	if k.iopub, err = k.dial(ctx, "2", zmtp.Sub); err != nil {
		return err
	}
	if err := k.iopub.Subscribe(""); err != nil {
		return err
	}
	go k.readReplies()
	go k.readOutput()
	for {
		e := k.begin()
		if err := k.send(e.id, "kernel_info_request", struct{}{}, struct{}{}); err != nil {
			return err
		}
		close(e.gone)
		timer := time.NewTimer(askAgain)
		select {
		case <-e.idle:
			timer.Stop()
			return nil
		case <-timer.C:
		case <-k.done:
			timer.Stop()
			return errors.New("kernel ended while it started: " + k.why)
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(errSilent, context.Cause(ctx))
		}
	}
}

// begin makes the execution whose output is read from now on.
func (k *Kernel) begin() *execution {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ids++
	k.current = &execution{id: k.session + "-" + strconv.Itoa(k.ids), events: make(chan kernel.Event), idle: make(chan struct{}), gone: make(chan struct{})}
	return k.current
}

func (k *Kernel) send(id, kind string, content, metadata any) error {
	frames, err := k.request(id, kind, content, metadata)
	if err != nil {
		return err
	}
	return k.shell.Send(frames...)
}

// readReplies reads the replies to requests, which say nothing that the output does not say.
func (k *Kernel) readReplies() {
	for {
		if _, err := k.shell.Receive(); err != nil {
			k.signal(syscall.SIGKILL) // It is of no use without its socket.
			return
		}
	}
}

// readOutput passes output to the code that runs.
func (k *Kernel) readOutput() {
	for {
		frames, err := k.iopub.Receive()
		if err != nil {
			k.signal(syscall.SIGKILL)
			return
		}
		m, err := k.read(frames)
		if err != nil {
			continue // It is none of ours.
		}
		k.mu.Lock()
		e := k.current
		k.mu.Unlock()
		if e == nil || m.parent != e.id {
			continue
		}
		if m.idle() {
			k.mu.Lock()
			k.current = nil
			k.mu.Unlock()
			close(e.idle)
			continue
		}
		for _, event := range m.events() {
			select {
			case e.events <- event:
			case <-e.gone:
			case <-k.done:
			}
		}
	}
}

// idle reports whether the kernel is done with a request.
func (m message) idle() bool {
	var c struct {
		State string `json:"execution_state"`
	}
	return m.kind == "status" && json.Unmarshal(m.content, &c) == nil && c.State == "idle"
}

// Run implements kernel.Kernel.
func (k *Kernel) Run(ctx context.Context, run kernel.Run, emit kernel.Emit) error {
	select {
	case k.turn <- struct{}{}:
	case <-k.done:
		return kernel.ErrEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	e := k.begin()
	err := k.send(e.id, "execute_request", map[string]any{
		"code": run.Code, "silent": false, "store_history": true, "user_expressions": struct{}{}, "allow_stdin": false, "stop_on_error": false,
	}, map[string]any{"rundlet": map[string]any{"env": run.Env, "sandbox": run.Sandbox, "generation": run.Generation}})
	if err != nil {
		k.signal(syscall.SIGKILL)
	}
	for {
		select {
		case event := <-e.events:
			if err := emit(event); err != nil {
				k.abandon(e)
				return err
			}
		case <-e.idle:
			<-k.turn
			return nil
		case <-k.done:
			return kernel.ErrEnded
		case <-ctx.Done():
			k.abandon(e)
			return context.Cause(ctx)
		}
	}
}

// abandon interrupts code whose client is gone. The next run begins when it has ended.
func (k *Kernel) abandon(e *execution) {
	close(e.gone)
	go func() {
		kernel.Interrupt(e.idle, k.done, func() { k.signal(syscall.SIGINT) })
		select {
		case <-e.idle:
			<-k.turn
		case <-k.done:
		}
	}()
}

// Done implements kernel.Kernel.
func (k *Kernel) Done() <-chan struct{} { return k.done }

// Why implements kernel.Kernel.
func (k *Kernel) Why() string {
	<-k.done
	return k.why
}

// Close implements kernel.Kernel.
func (k *Kernel) Close() {
	k.close()
	for _, c := range []*zmtp.Conn{k.shell, k.iopub} {
		if c != nil {
			c.Close()
		}
	}
}
