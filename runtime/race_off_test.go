//go:build !race

package runtime

// raced is whether the race detector is on.
const raced = false
