// Package namespacetest makes network namespaces for tests. Linux only. It may import
// package namespace; only tests of package network and those below it may import it.
package namespacetest
