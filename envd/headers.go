package envd

// The headers of the protocol and of the way to it through the data plane. All
// are written as http.Header keeps them, so that they index one.
const (
	// AccessTokenHeader carries the token that a sandbox's clients show to its
	// agent.
	AccessTokenHeader = "X-Access-Token"
	// ControlTokenHeader carries the token that the host shows to the agent.
	ControlTokenHeader = "X-Control-Token"

	// SandboxIDHeader and SandboxPortHeader name a sandbox and its port to the
	// proxy where the host name does not.
	SandboxIDHeader   = "E2b-Sandbox-Id"
	SandboxPortHeader = "E2b-Sandbox-Port"
	// TrafficTokenHeader carries the token that guards the ports of a sandbox
	// without public traffic, all but the agent's. The proxy keeps it.
	TrafficTokenHeader = "E2b-Traffic-Access-Token"
)
