package build

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
)

func TestAFailureSaysWhereAndWhy(t *testing.T) {
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		err, cause error
		want       sandbox.BuildFailure
	}{
		"none":           {nil, nil, sandbox.BuildFailure{}},
		"in a step":      {fmt.Errorf("wrapped: %w", at("3", broken)), nil, sandbox.BuildFailure{Step: "3", Message: "wrapped: broken"}},
		"before any":     {broken, nil, sandbox.BuildFailure{Step: "base", Message: "broken"}},
		"replaced":       {at("2", broken), errReplaced, sandbox.BuildFailure{Step: "2", Message: "the build was broken off: another build of this template began"}},
		"the daemon":     {at("2", broken), context.Canceled, sandbox.BuildFailure{Step: "2", Message: "the build was broken off: the daemon was restarted during the build: start it again"}},
		"deleted before": {broken, errDeleted, sandbox.BuildFailure{Step: "base", Message: "the build was broken off: the template was deleted"}},
	} {
		j := &job{}
		j.ctx, j.cancel = context.WithCancelCause(t.Context())
		if tt.cause != nil {
			j.cancel(tt.cause)
		}
		if got := failureOf(j, tt.err); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
		j.cancel(nil)
	}
	if at("1", nil) != nil {
		t.Error("no error became one")
	}
}
