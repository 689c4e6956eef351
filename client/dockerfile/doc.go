// Package dockerfile reads Dockerfiles as recipes of templates, as E2B's builders do. It runs nothing and reads no file. It may
// import sandbox.
package dockerfile

import "fmt"

// Error is an error of a Dockerfile.
type Error struct {
	// Line is counted from 1; 0 is the file as a whole.
	Line    int
	Message string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Message
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Message)
}

func errorf(line int, format string, args ...any) error {
	return &Error{line, fmt.Sprintf(format, args...)}
}

// maxSize bounds a Dockerfile, in bytes.
const maxSize = 4 << 20
