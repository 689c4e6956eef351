package main

import (
	"net"
	"testing"
)

func TestReachable(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:3000": "127.0.0.1:3000",
		"0.0.0.0:3000":   "127.0.0.1:3000",
		"[::]:3000":      "127.0.0.1:3000",
		"[::1]:3000":     "[::1]:3000",
		"10.1.2.3:80":    "10.1.2.3:80",
	} {
		addr, err := net.ResolveTCPAddr("tcp", listen)
		if err != nil {
			t.Fatal(err)
		}
		if got := reachable(addr); got != want {
			t.Errorf("%s: %s, want %s", listen, got, want)
		}
	}
}
