package statedir

import (
	"os"
	"testing"
)

func TestTheEndpointIsThatOfTheLastDaemon(t *testing.T) {
	l := dirs(t)
	if url := ReadEndpoint(l); url != "" {
		t.Errorf("before any: %q", url)
	}
	for _, url := range []string{"http://10.1.2.3:4", "http://127.0.0.1:3000"} {
		if err := WriteEndpoint(l, url); err != nil {
			t.Fatal(err)
		}
		if got := ReadEndpoint(l); got != url {
			t.Errorf("%q, want %q", got, url)
		}
	}
	if err := os.Truncate(endpointFile(l), 0); err != nil {
		t.Fatal(err)
	}
	if url := ReadEndpoint(l); url != "" {
		t.Errorf("from an empty file: %q", url)
	}
}
