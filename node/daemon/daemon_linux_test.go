package daemon

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/node/keys"
	"github.com/rundlet/rundlet/node/statedir"
)

func TestMain(m *testing.M) {
	node.Init()
	os.Exit(m.Run())
}

// A program can serve a node with a few lines: the address and the key that Serve
// leaves in the state directory are enough for a client.
func TestServeAnswersAClientUntilItsContextEnds(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("sandboxes need root")
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
	l := dirs(t)
	run, err := os.MkdirTemp("", "daemon") // The test's own directory is too long a name for sockets.
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(run)
	l.RunDir = run
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, served := make(chan string, 1), make(chan error, 1)
	go func() {
		served <- Serve(ctx, Config{
			Node:   node.Config{Dirs: l, NoUplink: true, NetworkSlots: -1, Log: slog.New(slog.NewTextHandler(t.Output(), nil))},
			Listen: "127.0.0.1:0", Version: "test",
			Ending: func(error) node.Ending { return node.EndAll },
			Ready:  func(url string) { ready <- url },
		})
	}()
	var url string
	select {
	case url = <-ready:
	case err := <-served:
		t.Fatal(err)
	case <-time.After(time.Minute):
		t.Fatal("it is not ready after a minute")
	}
	if got := statedir.ReadEndpoint(l); got != url {
		t.Errorf("the endpoint is %q, want %q", got, url)
	}
	list, err := client.API{URL: url, Key: keys.ReadDefault(l)}.List(t.Context())
	if err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if resp, err := http.Get(url + "/health"); err == nil {
		resp.Body.Close()
		t.Error("it answers after it has ended")
	}
}
