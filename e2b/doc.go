// Package e2b is the E2B surface: one port, with the control plane (in control) and the data
// plane (in dataplane) behind it. It bounds what clients take, and checks API keys. It
// knows no driver: everything it does goes through RuntimeAdapter. It may import
// sandbox, envd, api (generated code) and the packages below it; only cmd, node and
// bench/local may import it.
package e2b
