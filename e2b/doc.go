// Package e2b is the E2B surface: the REST API, API keys, and the data-plane
// proxy (in dataplane) that carries requests to the agent and to user ports. It
// knows no driver: everything it does goes through RuntimeAdapter. It may import
// sandbox, envd, api (generated code) and its own dataplane; only cmd and
// bench/local may import it.
package e2b
