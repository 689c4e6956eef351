// Package control is the control plane of the E2B surface: the operations of api/openapi.yaml, for
// requests whose key was checked. It asks a Runtime for everything, and makes the data plane follow. It may import
// sandbox, envd, the generated API and other packages of e2b; only e2b may import it. The tests of e2b test
// it over the wire.
package control
