package statedir

import (
	"os"
	"testing"
)

func TestTheEndpointIsThatOfTheLastDaemon(t *testing.T) {
	l := dirs(t)
	if e := ReadEndpoint(l); e != (Endpoint{}) {
		t.Errorf("before any: %+v", e)
	}
	secure := Endpoint{URL: "https://api.e2b.localhost:8443", Domain: "e2b.localhost:8443", Address: "127.0.0.1:8443", Root: "/a", Bundle: "/b"}
	for _, e := range []Endpoint{{URL: "http://10.1.2.3:4"}, secure, {URL: "http://127.0.0.1:3000"}} {
		if err := WriteEndpoint(l, e); err != nil {
			t.Fatal(err)
		}
		if got := ReadEndpoint(l); got != e {
			t.Errorf("%+v, want %+v", got, e)
		}
	}
	for text, want := range map[string]Endpoint{
		"http://127.0.0.1:3000\n": {URL: "http://127.0.0.1:3000"}, // As daemons before TLS wrote it.
		"":                        {},
		"{":                       {},
	} {
		if err := os.WriteFile(endpointFile(l), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if e := ReadEndpoint(l); e != want {
			t.Errorf("from %q: %+v", text, e)
		}
	}
}
