//go:build linux

// Package agent is the program inside the guest: it serves the envd API
// (Connect and plain HTTP on port 49983) for the sandbox it runs in. It may
// import its own subpackages, envd and the generated API, nothing of the host's;
// only cmd/rundlet-agent and tests import it.
package agent

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/rundlet/rundlet/agent/account"
	"github.com/rundlet/rundlet/agent/files"
	"github.com/rundlet/rundlet/agent/filesystem"
	"github.com/rundlet/rundlet/agent/generation"
	"github.com/rundlet/rundlet/agent/process"
	"github.com/rundlet/rundlet/agent/reaper"
	"github.com/rundlet/rundlet/agent/sandbox"
	"github.com/rundlet/rundlet/api/gen/envd/filesystempb/filesystempbconnect"
	"github.com/rundlet/rundlet/api/gen/envd/processpb/processpbconnect"
	"github.com/rundlet/rundlet/envd"
)

// maxMessageBytes bounds one Connect message.
const maxMessageBytes = 32 << 20

// Config says where the agent finds the guest. The zero value is a real guest,
// except for Reaper, which is needed.
type Config struct {
	// Reaper starts the processes; the caller closes it after the Server.
	Reaper *reaper.Reaper
	// Root is prepended to the files of the system that the agent itself reads
	// and writes in /etc (not to the paths of requests). Empty in a guest.
	Root string
	// Kernel sets hostname, clock and random pool; nil is the real kernel.
	Kernel Kernel
	// Console gets messages that have no other receiver; nil is standard error.
	Console io.Writer
}

// Server is an agent. Its methods are safe for concurrent use.
type Server struct {
	state   *sandbox.State
	root    string
	kernel  Kernel
	console io.Writer
	reaper  *reaper.Reaper
	process *process.Service
	fs      *filesystem.Service
	http    *http.Server
	cpu     cpuMeter

	connections connections
	generation  *generation.Notifier

	// initMu serialises control requests that change the identity.
	initMu       sync.Mutex
	controlToken string
}

// New returns a Server that is not initialised yet.
func New(cfg Config) *Server {
	if cfg.Kernel == nil {
		cfg.Kernel = realKernel{}
		if os.Getpid() == 1 {
			// Without it the boot id is that of the template.
			_ = coverBootID()
		}
	}
	if cfg.Console == nil {
		cfg.Console = os.Stderr
	}
	state := sandbox.New(account.Open(cfg.Root+"/etc/passwd", cfg.Root+"/etc/group"))
	s := &Server{
		state:   state,
		root:    cfg.Root,
		kernel:  cfg.Kernel,
		console: cfg.Console,
		reaper:  cfg.Reaper,
		process: process.New(state, cfg.Reaper),
		fs:      filesystem.New(state),

		generation: generation.New(cfg.Root, cfg.Reaper, cfg.Console),
	}
	// A guest that cannot have the file is of use without it.
	_ = s.generation.Begin()
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s.http = &http.Server{
		Handler:           s.handler(),
		Protocols:         &protocols,
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       640 * time.Second,
		MaxHeaderBytes:    64 << 10,
		ConnContext:       s.connections.mark,
		ConnState:         s.connections.follow,
	}
	return s
}

// Serve answers on l until Close, and then returns nil.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close ends all connections, watchers and processes.
func (s *Server) Close() error {
	err := s.http.Close()
	s.generation.Close()
	s.process.Close()
	s.fs.Close()
	return err
}

func (s *Server) handler() http.Handler {
	limit := connect.WithReadMaxBytes(maxMessageBytes)
	mux := http.NewServeMux()
	procPath, proc := processpbconnect.NewProcessHandler(s.process, limit)
	fsPath, fs := filesystempbconnect.NewFilesystemHandler(s.fs, limit)
	mux.Handle(procPath, streams(proc))
	mux.Handle(fsPath, streams(fs))
	f := files.New(s.state)
	mux.HandleFunc("GET "+envd.FilesPath, f.Download)
	mux.HandleFunc("POST "+envd.FilesPath, f.Upload)
	mux.HandleFunc("POST "+envd.ComposePath, f.Compose)
	mux.HandleFunc("GET "+envd.HealthPath, s.health)
	mux.HandleFunc("GET "+envd.MetricsPath, s.metrics)
	mux.HandleFunc("GET "+envd.EnvsPath, s.envs)
	mux.HandleFunc("POST "+envd.InitPath, s.init)
	mux.HandleFunc("GET "+envd.DialPath, s.forHost(s.dial))
	mux.HandleFunc("POST "+envd.TrustPath, s.trust)
	mux.HandleFunc("POST "+envd.CopyPath, s.forHost(f.Copy))
	mux.HandleFunc("GET "+envd.RootPath, s.forHost(s.rootState))
	mux.HandleFunc("GET "+envd.RootTimesPath, s.forHost(s.rootTimes))
	mux.HandleFunc("POST "+envd.RootPath, s.forHost(s.restoreExtras))
	return cors(s.authenticate(mux))
}

func (s *Server) path(p string) string { return s.root + p }
