// Package templates has the operations of the API on templates: lists, builds with their files and logs, and tags. It
// asks a Runtime for everything. It may import sandbox, the generated API and packages of e2b/internal; only e2b/control
// and, for tests, packages of e2b may import it. The tests of e2b test it over the wire.
package templates
