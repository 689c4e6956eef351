// Package live has the sandboxes of a runtime that are not killed: of each its row, the
// lock that serialises its lifecycle calls, and the calls in progress; and the set of all
// in the order of their start. It changes no machine and writes no row.
package live
