package main

import (
	"fmt"
	"testing"
)

func TestTrustedProxiesAreAddressesOrNetworks(t *testing.T) {
	got, err := parseNetworks("trusted-proxy", []string{"10.0.0.7", "10.1.2.3/16", "2001:db8::1"})
	if want := "[10.0.0.7/32 10.1.0.0/16 2001:db8::1/128]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("%v, %v, want %s", got, err, want)
	}
	for _, bad := range []string{"", "proxy.example.com", "10.0.0.0/33", "fe80::1%eth0"} {
		if _, err := parseNetworks("trusted-proxy", []string{bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
