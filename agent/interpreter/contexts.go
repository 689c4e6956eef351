//go:build linux

package interpreter

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/rundlet/rundlet/agent/interpreter/kernel"
)

const (
	// maxContexts bounds the kernels, each of which is a process.
	maxContexts = 32
	// maxWaiting bounds the runs of a context that wait for each other.
	maxWaiting = 64

	python, bash = "python", "bash"
)

// languages are those of kernels, by their names.
var languages = map[string]string{"": python, "python": python, "python3": python, "bash": bash, "sh": bash, "shell": bash}

var (
	errNotFound = errors.New("not found")
	errInvalid  = errors.New("invalid")
	errTooMany  = errors.New("too many")
)

// environment is a context for code: a kernel, which may be replaced.
type environment struct {
	ID       string `json:"id"`
	Language string `json:"language"`
	Cwd      string `json:"cwd"`

	waiting chan struct{}

	mu       sync.Mutex // Held while a kernel starts.
	kernel   kernel.Kernel
	removed  bool
	restarts int
}

// contexts are the contexts of a server. Its methods are safe for concurrent use.
type contexts struct {
	dir   string
	start func(ctx context.Context, language, cwd, generation string) (kernel.Kernel, error)

	mu       sync.Mutex
	all      []*environment // In the order in which they were made.
	defaults map[string]*environment
	closed   bool
}

// create makes a context, and starts its kernel.
func (c *contexts) create(ctx context.Context, language, cwd, generation string) (*environment, error) {
	e, err := c.reserve(language, cwd, false)
	if err != nil {
		return nil, err
	}
	if _, err := c.ensure(ctx, e, generation); err != nil {
		c.drop(e)
		return nil, err
	}
	return e, nil
}

// reserve makes a context without a kernel: the one for runs that name a language and no context, if standard.
func (c *contexts) reserve(language, cwd string, standard bool) (*environment, error) {
	known, ok := languages[language]
	if !ok {
		return nil, fmt.Errorf("%w language %q: this template has python and bash", errInvalid, language)
	}
	if cwd == "" {
		cwd = c.dir
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.defaults[known]; standard && e != nil {
		return e, nil
	}
	if info, err := os.Stat(cwd); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%w cwd %q: it is not a directory", errInvalid, cwd)
	}
	if c.closed || len(c.all) >= maxContexts {
		return nil, fmt.Errorf("%w contexts: at most %d; remove one", errTooMany, maxContexts)
	}
	e := &environment{ID: newID(), Language: known, Cwd: cwd, waiting: make(chan struct{}, maxWaiting)}
	c.all = append(c.all, e)
	if standard {
		c.defaults[known] = e
	}
	return e, nil
}

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // It cannot fail.
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// ensure returns the kernel of a context, and starts one if there is none that runs.
func (c *contexts) ensure(ctx context.Context, e *environment, generation string) (kernel.Kernel, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return c.ensureLocked(ctx, e, generation)
}

func (c *contexts) ensureLocked(ctx context.Context, e *environment, generation string) (kernel.Kernel, error) {
	if e.removed {
		return nil, fmt.Errorf("context %s %w", e.ID, errNotFound)
	}
	if e.kernel != nil {
		select {
		case <-e.kernel.Done():
			e.kernel.Close()
			e.kernel = nil
		default:
			return e.kernel, nil
		}
	}
	if ctx.Err() != nil { // It has left while others tried: the next one tries again.
		return nil, context.Cause(ctx)
	}
	// A client that leaves does not end the start: the next one needs the kernel.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	defer cancel()
	k, err := c.start(ctx, e.Language, e.Cwd, generation)
	if err != nil {
		return nil, err
	}
	e.kernel = k
	return k, nil
}

// restart ends the kernel of a context, whatever it does, and starts another.
func (c *contexts) restart(ctx context.Context, id, generation string) error {
	e, err := c.find(id)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.kernel != nil {
		e.restarts++
		e.kernel.Close()
		e.kernel = nil
	}
	_, err = c.ensureLocked(ctx, e, generation)
	return err
}

// remove ends a context. If it was the one for its language, the next run makes another.
func (c *contexts) remove(id string) error {
	e, err := c.find(id)
	if err != nil {
		return err
	}
	c.drop(e)
	return nil
}

// drop forgets a context, and ends its kernel.
func (c *contexts) drop(e *environment) {
	c.mu.Lock()
	c.all = slices.DeleteFunc(c.all, func(other *environment) bool { return other == e })
	if c.defaults[e.Language] == e {
		delete(c.defaults, e.Language)
	}
	c.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.removed = true
	if e.kernel != nil {
		e.kernel.Close()
		e.kernel = nil
	}
}

func (c *contexts) find(id string) (*environment, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.all {
		if e.ID == id {
			return e, nil
		}
	}
	return nil, fmt.Errorf("context %.100s %w", id, errNotFound)
}

func (c *contexts) list() []*environment {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.all)
}

// close ends all contexts.
func (c *contexts) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	for _, e := range c.list() {
		c.drop(e)
	}
}
