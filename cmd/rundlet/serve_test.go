package main

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestServeRefusesAnEndpointThatIsNoURL(t *testing.T) {
	home(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")
	if _, err := cli(t, "serve", "--listen", "127.0.0.1:0"); err == nil || !strings.Contains(err.Error(), "OTEL_EXPORTER_OTLP_ENDPOINT") {
		t.Errorf("%v", err)
	}
}

func TestServeRefusesADriverThatIsNotInTheBuild(t *testing.T) {
	home(t)
	if _, err := cli(t, "serve", "--listen", "127.0.0.1:0", "--driver", "xen"); err == nil || !strings.Contains(err.Error(), `driver "xen" is not in this build; available: auto, `) {
		t.Errorf("%v", err)
	}
}

// A terminal that goes ends a command as a signal does, so that it cleans up.
func TestAHangUpEndsACommand(t *testing.T) {
	ctx := untilSignal()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if !stoppedBy(context.Cause(ctx), syscall.SIGHUP) {
		t.Errorf("the cause is %v", context.Cause(ctx))
	}
}
