package site

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/rundlet/rundlet/runtime/machine"
)

func TestTheErrorOfACommandSaysWhatItWrote(t *testing.T) {
	late, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("it took too long"))
	failed := fmt.Errorf("wrapped: %w", &machine.ExitError{Status: "exit status 2"})
	for want, err := range map[string]error{
		"<nil>": Failed(t.Context(), "x", nil, []string{"a"}),
		"failed to run command 'x': wrapped: exit status 2; its last lines: a\nb": Failed(t.Context(), "x", failed, []string{"a", "b"}),
		"failed to run command 'x': wrapped: exit status 2":                       Failed(t.Context(), "x", failed, nil),
		"failed to run command 'x': it took too long":                             Failed(late, "x", failed, nil),
		"failed to run command 'x': broken":                                       Failed(t.Context(), "x", errors.New("broken"), []string{"a"}),
	} {
		if got := fmt.Sprint(err); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
