package commandtest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/cmd/rundlet/command"
)

func TestRun(t *testing.T) {
	failed := errors.New("failed")
	of := func(o *command.Options) *cobra.Command {
		return &cobra.Command{Use: "x", RunE: func(cmd *cobra.Command, args []string) error {
			api, err := o.API()
			if err != nil {
				return err
			}
			resp, err := client.Open(cmd.Context(), api, "/path", nil)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			_, _ = io.Copy(cmd.OutOrStdout(), resp.Body)
			fmt.Fprint(cmd.ErrOrStderr(), o.JSON, args)
			return failed
		}}
	}
	handle := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.URL.Path, " ", r.Header.Get("X-API-Key"))
	}
	out, errs, err := Run(t.Context(), t, handle, true, of, "a", "b")
	if out != "/path e2b_0" || errs != "true [a b]" || !errors.Is(err, failed) {
		t.Errorf("%q, %q, %v", out, errs, err)
	}
}
