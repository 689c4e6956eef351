package sandbox

import (
	"fmt"
	"strings"
)

// Bounds of an environment, in bytes. MaxVariable is the kernel's of one variable, with its "=" and the NUL that ends it: no program
// could be started with a longer one. MaxEnvironment is the largest body of a request, so that the body is the bound.
const (
	MaxVariable    = 128 << 10
	MaxEnvironment = 1 << 20
)

// CheckEnvironment checks that programs can have an environment; ErrInvalid.
func CheckEnvironment(env map[string]string) error {
	total := 0
	for name, value := range env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") {
			return fmt.Errorf("%w: environment variable %.40q is not valid", ErrInvalid, name)
		}
		if n := len(name) + len(value) + 2; n > MaxVariable {
			return fmt.Errorf("%w: environment variable %.40q has %d bytes; at most %d are allowed", ErrInvalid, name, n, MaxVariable)
		}
		total += len(name) + len(value)
	}
	if total > MaxEnvironment {
		return fmt.Errorf("%w: environment variables have %d bytes; at most %d are allowed", ErrInvalid, total, MaxEnvironment)
	}
	return nil
}
