// Package control is the host's side of the agent: its port, headers and
// version, the request that gives a restored sandbox its identity, and a client
// for it. It may import the standard library only, so that every layer on the
// host can afford it; the agent imports it for the shared names.
package control

import (
	"errors"
	"fmt"
	"time"
)

// Port is where the agent listens in the guest.
const Port = 49983

// EnvdVersion is the version of E2B's envd that the agent behaves like.
const EnvdVersion = "0.6.13"

// The agent's own paths and headers. The data-plane proxy must refuse these
// paths from outside; the control token guards them in any case.
const (
	InitPath    = "/init"
	HealthPath  = "/health"
	DialPath    = "/rundlet/dial"
	TokenHeader = "X-Control-Token"
	DialUpgrade = "rundlet-dial"

	AccessTokenHeader = "X-Access-Token"
)

// InitRequest gives a sandbox its identity. It replaces the previous one as a
// whole, apart from the hostname and the clock.
type InitRequest struct {
	// Env is set for every process, below what its own request sets. The agent
	// adds E2B_SANDBOX, E2B_SANDBOX_ID and E2B_TEMPLATE_ID.
	Env map[string]string `json:"envVars,omitempty"`
	// AccessToken must be shown by clients; empty admits everybody.
	AccessToken string `json:"accessToken,omitempty"`
	// Timestamp is the host's time; zero leaves the guest's clock alone.
	Timestamp time.Time `json:"timestamp,omitzero"`
	// DefaultUser is used where a request names none; empty means "user", or
	// root in a guest without that.
	DefaultUser string `json:"defaultUser,omitempty"`
	// DefaultWorkdir is where commands begin; empty means the user's home.
	DefaultWorkdir string `json:"defaultWorkdir,omitempty"`
	Hostname       string `json:"hostname,omitempty"`
	SandboxID      string `json:"sandboxID,omitempty"`
	TemplateID     string `json:"templateID,omitempty"`
	// ControlToken must be shown by every later control request. The first
	// request must set it; a later one may change it.
	ControlToken string `json:"controlToken,omitempty"`
	// RandomSeed is mixed into the guest's random pool.
	RandomSeed []byte `json:"randomSeed,omitempty"`
	// CurrentToken authorises a request to an agent that has a control token
	// already, as one restored from a snapshot does; empty means ControlToken.
	CurrentToken string `json:"-"`
}

var (
	// ErrUnreachable: no connection, or it broke before the reply.
	ErrUnreachable = errors.New("agent is not reachable")
	// ErrUnauthorized: the control token is not the agent's.
	ErrUnauthorized = errors.New("agent refused the control token")
	// ErrPortClosed: nothing listens on the port in the guest.
	ErrPortClosed = errors.New("port is not open in the guest")
)

// StatusError is a reply that the client did not expect.
type StatusError struct {
	Op      string
	Status  int
	Message string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("agent %s: status %d: %s", e.Op, e.Status, e.Message)
}
