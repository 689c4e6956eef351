// Package doctor checks whether this host can run sandboxes and how to fix what is
// missing. Checks are read-only. It may import the standard library, netlink libraries, prometheus/procfs
// and internal packages. cmd imports it and passes the checks of other packages as
// functions, so that doctor does not depend on them.
package doctor

import (
	"context"
	"runtime"
)

// Status is the severity of a finding.
type Status string

// The statuses, by increasing severity. Info is neither good nor bad.
const (
	OK   Status = "ok"
	Info Status = "info"
	Warn Status = "warn"
	Fail Status = "fail"
)

// Finding is the result of one check.
type Finding struct {
	// Name is short and stable, so that scripts can match it.
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Detail is the result.
	Detail string `json:"detail"`
	// Hint says how to fix it; empty if there is nothing to fix.
	Hint string `json:"hint,omitempty"`
}

// CheckFunc checks one aspect of the host. It returns soon after its context ends.
type CheckFunc func(context.Context) []Finding

// Check runs the host checks and then more, in order. stateDir is the state
// directory, which may not exist yet.
func Check(ctx context.Context, stateDir string, more ...CheckFunc) []Finding {
	checks := append([]CheckFunc{platform}, hostChecks(stateDir)...)
	return run(ctx, append(checks, more...))
}

func run(ctx context.Context, checks []CheckFunc) []Finding {
	var out []Finding
	for _, check := range checks {
		if err := ctx.Err(); err != nil {
			return append(out, Finding{"doctor", Fail, "stopped before all checks ran: " + err.Error(), ""})
		}
		out = append(out, check(ctx)...)
	}
	return out
}

// Failed reports whether a finding prevents sandboxes from running.
func Failed(findings []Finding) bool {
	for _, f := range findings {
		if f.Status == Fail {
			return true
		}
	}
	return false
}

func platform(context.Context) []Finding {
	return []Finding{platformFinding(runtime.GOOS, runtime.GOARCH)}
}

func platformFinding(goos, goarch string) Finding {
	f := Finding{Name: "platform", Status: OK, Detail: goos + "/" + goarch}
	if goos != "linux" || goarch != "amd64" && goarch != "arm64" {
		f.Status = Fail
		f.Hint = "the embedded driver needs linux/amd64 or linux/arm64; use such a host or a virtual machine"
	}
	return f
}
