// Package envd is the host's side of the protocol that the agent serves in a
// guest: its port, paths, headers and version, the request that gives a
// restored sandbox its identity, and a client for it. It may import the
// standard library only, so that every layer on the host can afford it; the
// agent imports it for the shared names.
package envd

import (
	"errors"
	"fmt"
	"time"
)

// Port is where the agent listens in the guest.
const Port = 49983

// Version is the version of E2B's envd that the agent behaves like.
const Version = "0.6.13"

// InitRequest gives a sandbox its identity. It replaces the previous one as a
// whole, apart from the control token and what the agent set in the guest's
// system: hostname, boot id and clock. With Restored it also keeps what the host
// does not store: the environment, and the defaults that the request leaves
// empty.
type InitRequest struct {
	// Restored says that this is the first request after the restore of a
	// machine whose agent had been initialised: a resumed or forked sandbox, or
	// one made from a snapshot of a sandbox. All connections but that of the
	// request are from before and lead nowhere; the agent closes them. It distinguishes
	// the guest's programs (docs/fork-safety.md), and its environment stays, with
	// Env merged above it: a request can change a variable, not remove one. Not
	// for a template's snapshot whose agent is not initialised, although
	// nothing worse comes of it than a little work.
	Restored bool `json:"restored,omitempty"`
	// Env is set for every process, below what its own request sets. The agent
	// adds E2B_SANDBOX, E2B_SANDBOX_ID and E2B_TEMPLATE_ID, always those of this
	// request. Processes that run already keep the environment they have.
	Env map[string]string `json:"envVars,omitempty"`
	// AccessToken must be shown by clients; empty admits everybody. It is never
	// kept: the previous one is refused as soon as the request is answered.
	AccessToken string `json:"accessToken,omitempty"`
	// Timestamp is the host's time; zero leaves the guest's clock alone, and so
	// does a clock that is 50 ms behind or 5 s ahead at most.
	Timestamp time.Time `json:"timestamp,omitzero"`
	// DefaultUser is used where a request names none; empty means "user", or
	// root in a guest without that.
	DefaultUser string `json:"defaultUser,omitempty"`
	// DefaultWorkdir is where commands begin; empty means the user's home.
	DefaultWorkdir string `json:"defaultWorkdir,omitempty"`
	Hostname       string `json:"hostname,omitempty"`
	// BootID is the UUID, in lower case, that /proc/sys/kernel/random/boot_id
	// shows from now on; empty leaves it as it is. It is a mount, so root in the
	// guest can undo it and deceives only the guest.
	BootID string `json:"bootID,omitempty"`
	// SandboxID also decides /etc/machine-id.
	SandboxID  string `json:"sandboxID,omitempty"`
	TemplateID string `json:"templateID,omitempty"`
	// ControlToken must be shown by every later control request. The first
	// request must set it; a later one may change it.
	ControlToken string `json:"controlToken,omitempty"`
	// RandomSeed is mixed into the guest's random pool.
	RandomSeed []byte `json:"randomSeed,omitempty"`
	// CurrentToken authorises a request to an agent that has a control token
	// already, as one restored from a snapshot does; empty means ControlToken.
	CurrentToken string `json:"-"`
}

// TrustRequest makes the guest's programs trust authorities, in place of those that it was given before.
type TrustRequest struct {
	// CABundle has their certificates in PEM.
	CABundle string `json:"caBundle"`
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
