// Package commandtest runs a command against a server of the test. Only tests of the packages of cmd/rundlet import it.
package commandtest

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
)

// TB is the part of testing.TB that is used; package testing adds flags to a program.
type TB interface {
	Helper()
	Setenv(key, value string)
}

// Run runs a command, with a server that answers by handle as that of the environment, and returns its standard output and standard error.
func Run(ctx context.Context, t TB, handle http.HandlerFunc, asJSON bool, of func(*command.Options) *cobra.Command, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	srv := httptest.NewServer(handle)
	defer srv.Close()
	return RunAt(ctx, t, srv.URL, asJSON, of, args...)
}

// RunAt is Run with the server at a URL.
func RunAt(ctx context.Context, t TB, url string, asJSON bool, of func(*command.Options) *cobra.Command, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	t.Setenv("E2B_API_URL", url)
	t.Setenv("E2B_API_KEY", "e2b_0")
	cmd := of(&command.Options{JSON: asJSON})
	var out, errs bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(ctx)
	return out.String(), errs.String(), err
}
