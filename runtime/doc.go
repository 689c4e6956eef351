// Package runtime runs the life of sandboxes: create (which means restore),
// pause, resume, fork, snapshot, terminate, deadlines and restart
// reconciliation. It composes policy and drivers, and knows no wire protocol. It
// may import the packages below it in docs/architecture.md; e2b reaches it through
// interfaces that it defines, and node and the benchmarks import it.
package runtime
