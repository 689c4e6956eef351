package build

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/rundlet/rundlet/runtime/build/site"
)

func TestTheErrorOfACommandSaysWhatItWrote(t *testing.T) {
	late, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("it took too long"))
	failed := fmt.Errorf("wrapped: %w", &site.ExitError{Status: "exit status 2"})
	for want, err := range map[string]error{
		"<nil>": commandError(t.Context(), "x", nil, []string{"a"}),
		"failed to run command 'x': wrapped: exit status 2; its last lines: a\nb": commandError(t.Context(), "x", failed, []string{"a", "b"}),
		"failed to run command 'x': wrapped: exit status 2":                       commandError(t.Context(), "x", failed, nil),
		"failed to run command 'x': it took too long":                             commandError(late, "x", failed, nil),
		"failed to run command 'x': broken":                                       commandError(t.Context(), "x", errors.New("broken"), []string{"a"}),
	} {
		if got := fmt.Sprint(err); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
