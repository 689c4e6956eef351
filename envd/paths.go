package envd

import (
	"path"
	"strings"
)

// The paths of the agent that are plain HTTP.
const (
	HealthPath  = "/health"
	MetricsPath = "/metrics"
	EnvsPath    = "/envs"
	FilesPath   = "/files"
	ComposePath = FilesPath + "/compose"

	// InitPath, DialPath, TrustPath, CopyPath and RootPath are for the host, see HostOnly.
	InitPath  = "/init"
	DialPath  = ownPaths + "/dial"
	TrustPath = ownPaths + "/trust"
	CopyPath  = ownPaths + "/copy"
	RootPath  = ownPaths + "/root"
	// RootTimesPath is for RootTimes.
	RootTimesPath = RootPath + "/times"
)

// DialUpgrade is the protocol that a request to DialPath switches to.
const DialUpgrade = "rundlet-dial"

// ownPaths is above the paths that E2B's envd does not have.
const ownPaths = "/rundlet"

// HostOnly reports whether a path of the agent is for the host alone: a proxy
// must not carry it from outside. Paths that only E2B's envd has are among them.
// The control token guards those of the agent in any case.
func HostOnly(urlPath string) bool {
	// The agent's mux would clean the path; what it becomes is what counts.
	switch clean := path.Clean("/" + urlPath); clean {
	case InitPath, "/freeze", "/unfreeze", "/collapse", "/fsfreeze", "/fsthaw", "/upgrade", ownPaths:
		return true
	default:
		return strings.HasPrefix(clean, ownPaths+"/")
	}
}
