package sandbox

import "time"

// CreateRequest asks for a sandbox. The zero value of a field means "not
// given". Create validates it.
type CreateRequest struct {
	// Template is an id or an alias, with or without ":tag", or the id or a name
	// of a snapshot.
	Template string
	// Timeout until the sandbox is killed; must be positive.
	Timeout       time.Duration
	Metadata      map[string]string
	Env           map[string]string
	Secure        bool
	AllowInternet *bool
	// AllowPublicTraffic nil or true: ports are open to all clients that reach the proxy.
	AllowPublicTraffic *bool
	OnTimeout          OnTimeout
	AutoResume         bool
	KeyID              string
}

// ForkRequest asks for copies of a running sandbox.
type ForkRequest struct {
	// Count is how many, 1 to MaxForks.
	Count int
	// Timeout of each child; must be positive.
	Timeout time.Duration
	KeyID   string
}

// MaxForks is the most children of one fork, as in E2B.
const MaxForks = 100

// ForkResult is one child, or why there is none.
type ForkResult struct {
	Sandbox Sandbox
	Err     error
}
