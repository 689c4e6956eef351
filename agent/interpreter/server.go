//go:build linux

package interpreter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/rundlet/rundlet/agent/generation"
	"github.com/rundlet/rundlet/agent/interpreter/kernel"
)

// Config says what a Server uses.
type Config struct {
	// Dir is the directory of contexts that name none.
	Dir string
	// Start starts a kernel.
	Start func(ctx context.Context, language, cwd, generation string) (kernel.Kernel, error)
	// Root is prepended to the paths of the agent's files. Empty in a guest.
	Root string
}

// Server is a code interpreter. Its methods are safe for concurrent use.
type Server struct {
	contexts
	root     string
	bodyTime time.Duration // See bodyTime.
}

// New returns a Server without kernels.
func New(cfg Config) *Server {
	return &Server{contexts: contexts{dir: cfg.Dir, start: cfg.Start, defaults: map[string]*environment{}}, root: cfg.Root, bodyTime: bodyTime}
}

// Warm starts the kernel of runs that name neither context nor language.
func (s *Server) Warm(ctx context.Context) error {
	e, err := s.reserve(python, "", true)
	if err == nil {
		_, err = s.ensure(ctx, e, s.generation())
	}
	return err
}

// Close ends all kernels.
func (s *Server) Close() { s.close() }

// generation changes when the sandbox continues in a copy of its machine.
func (s *Server) generation() string {
	text, _ := os.ReadFile(s.root + generation.File) // Without it there are no copies.
	return strings.TrimSpace(string(text))
}

// environment returns the variables of the sandbox, which the template's kernels do not have yet.
func (s *Server) environment() (env map[string]string) {
	data, err := os.ReadFile(s.root + generation.EnvironmentFile)
	if err != nil || json.Unmarshal(data, &env) != nil {
		return nil
	}
	maps.DeleteFunc(env, func(name, value string) bool { return !isName(name) || strings.ContainsRune(value, 0) })
	return env
}

// Handler serves E2B's protocol.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", health)
	mux.HandleFunc("GET /health", health)
	mux.HandleFunc("POST /execute", s.execute)
	mux.HandleFunc("GET /contexts", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.list()) })
	mux.HandleFunc("POST /contexts", s.createContext)
	mux.HandleFunc("POST /contexts/{id}/restart", func(w http.ResponseWriter, r *http.Request) {
		if err := s.restart(r.Context(), r.PathValue("id"), s.generation()); err != nil {
			refuse(w, err)
			return
		}
		answer(w, http.StatusOK, map[string]any{})
	})
	mux.HandleFunc("DELETE /contexts/{id}", func(w http.ResponseWriter, r *http.Request) {
		if err := s.remove(r.PathValue("id")); err != nil {
			refuse(w, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if r.ContentLength == 0 { // Else who reads the body ends the time for it.
			_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		}
		mux.ServeHTTP(w, r)
	})
}

// health is asked by the ready command of a template; the server listens when its first kernel runs.
func health(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("OK\n")) }

func (s *Server) createContext(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Language string `json:"language"`
		Cwd      string `json:"cwd"`
	}
	if err := s.read(w, r, &in); err != nil {
		refuse(w, err)
		return
	}
	e, err := s.create(r.Context(), strings.ToLower(in.Language), in.Cwd, s.generation())
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, http.StatusCreated, e)
}

// request is a request to run code.
type request struct {
	Code      string            `json:"code"`
	ContextID string            `json:"context_id"`
	Language  string            `json:"language"`
	Env       map[string]string `json:"env_vars"`
}

// isName reports whether shells take it for the name of a variable.
func isName(name string) bool {
	for i, c := range []byte(name) {
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

func (q request) check() error {
	if q.ContextID != "" && q.Language != "" {
		return fmt.Errorf("%w request: it has a context and a language; only one of them can be given", errInvalid)
	}
	for name, value := range q.Env {
		if !isName(name) || strings.ContainsRune(value, 0) {
			return fmt.Errorf("%w variable %.100q", errInvalid, name)
		}
	}
	return nil
}

func (s *Server) execute(w http.ResponseWriter, r *http.Request) {
	var in request
	err := s.read(w, r, &in)
	if err == nil {
		err = in.check()
	}
	var e *environment
	switch {
	case err != nil:
	case in.ContextID != "":
		e, err = s.find(in.ContextID)
	default:
		e, err = s.reserve(strings.ToLower(in.Language), "", true)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	select {
	case e.waiting <- struct{}{}:
		defer func() { <-e.waiting }()
	default:
		refuse(w, fmt.Errorf("%w runs wait for the context %s", errTooMany, e.ID))
		return
	}
	gen := s.generation()
	k, err := s.ensure(r.Context(), e, gen)
	if err != nil {
		refuse(w, err)
		return
	}
	run := kernel.Run{Code: in.Code, Env: in.Env, Sandbox: s.environment(), Generation: gen}
	e.mu.Lock()
	restarts := e.restarts
	e.mu.Unlock()

	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	_ = out.Flush()
	emit := func(event kernel.Event) error {
		line, err := event.Line()
		if err != nil {
			return nil //nolint:nilerr // What is no JSON is not for a client, and no reason to end the run.
		}
		if err := out.SetWriteDeadline(time.Now().Add(writeStall)); err != nil {
			return err
		}
		if _, err := w.Write(line); err != nil {
			return err
		}
		return out.Flush()
	}
	if err := k.Run(r.Context(), run, emit); errors.Is(err, kernel.ErrEnded) {
		_ = emit(s.ended(e, k, restarts))
		_, _ = s.ensure(r.Context(), e, gen) // The next run finds a kernel, or the reason why there is none.
	}
	_ = out.SetWriteDeadline(time.Time{})
}

// ended is the event of a kernel that ended during a run.
func (s *Server) ended(e *environment, k kernel.Kernel, restarts int) kernel.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.removed:
		return kernel.Error("ContextRemoved", "the context was removed while the code ran", "")
	case e.restarts != restarts:
		return kernel.Error("ContextRestarted", "the context was restarted while the code ran", "")
	}
	return kernel.Error("KernelDied", "the kernel ended ("+k.Why()+"), and another one was started; the state of the context is lost", "")
}

// read reads the JSON of a request; an empty body is none.
func (s *Server) read(w http.ResponseWriter, r *http.Request, into any) error {
	in := http.NewResponseController(w)
	if err := in.SetReadDeadline(time.Now().Add(s.bodyTime)); err != nil {
		return err
	}
	err := json.NewDecoder(r.Body).Decode(into)
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w JSON: %w", errInvalid, err)
	}
	return in.SetReadDeadline(time.Time{})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	tooLarge := new(http.MaxBytesError)
	switch {
	case errors.Is(err, errNotFound):
		status = http.StatusNotFound
	case errors.Is(err, errInvalid):
		status = http.StatusBadRequest
	case errors.Is(err, errTooMany):
		status = http.StatusTooManyRequests
	case errors.Is(err, os.ErrDeadlineExceeded):
		status, err = http.StatusRequestTimeout, errors.New("the request did not come in time")
	case errors.As(err, &tooLarge):
		status, err = http.StatusRequestEntityTooLarge, fmt.Errorf("a request has at most %d bytes", tooLarge.Limit)
	}
	http.Error(w, err.Error(), status)
}
