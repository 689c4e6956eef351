// Package doctor finds out what this machine can do, what is missing, and how
// to get it. It only reads: a check changes nothing. It may import the standard
// library, netlink libraries, prometheus/procfs and internal packages; cmd
// imports it, and hands it the checks of other packages as functions, so that it
// knows none of them.
package doctor

import (
	"context"
	"runtime"
)

// Status is how good or bad a finding is.
type Status string

// The statuses, from good to bad. Info is neither: a thing to know.
const (
	OK   Status = "ok"
	Info Status = "info"
	Warn Status = "warn"
	Fail Status = "fail"
)

// Finding is the result of one check.
type Finding struct {
	// Name is short and stable: a machine may look for it.
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Detail says what was found.
	Detail string `json:"detail"`
	// Hint says what to do about it; empty if there is nothing to do.
	Hint string `json:"hint,omitempty"`
}

// CheckFunc looks at one aspect of the machine. It returns soon after its
// context has ended.
type CheckFunc func(context.Context) []Finding

// Check runs the checks of the host and then more, in order. stateDir is where
// Rundlet keeps, or will keep, its data.
func Check(ctx context.Context, stateDir string, more ...CheckFunc) []Finding {
	checks := append([]CheckFunc{platform}, hostChecks(stateDir)...)
	return run(ctx, append(checks, more...))
}

func run(ctx context.Context, checks []CheckFunc) []Finding {
	var out []Finding
	for _, check := range checks {
		if err := ctx.Err(); err != nil {
			return append(out, Finding{"doctor", Fail, "stopped before all checks had run: " + err.Error(), ""})
		}
		out = append(out, check(ctx)...)
	}
	return out
}

// Failed reports whether anything is bad enough to keep sandboxes from running.
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
		f.Hint = "the embedded driver runs on linux/amd64 and linux/arm64; use such a machine or a virtual one"
	}
	return f
}
