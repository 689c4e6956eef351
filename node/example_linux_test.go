package node_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
)

// A program that runs one command in a sandbox of a private node. The body of
// Example is that of main.
func Example() {
	if err := calculate(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func calculate(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "node")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	n, err := node.Open(ctx, node.Config{
		Dirs:      layout.Layout{StateDir: filepath.Join(dir, "state"), CacheDir: filepath.Join(dir, "cache"), RunDir: filepath.Join(dir, "run")},
		Ephemeral: true, // Nothing is kept.
		NoUplink:  true, // The sandbox has no internet, and the host's network stays as it is.
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close(node.EndAll)) }()
	sb, err := n.Runtime.Create(ctx, sandbox.CreateRequest{Template: template.BaseAlias, Timeout: time.Hour, Secure: true})
	if err != nil {
		return err
	}
	code, err := n.Agent(sb).Run(ctx, client.Command{Args: []string{"sh", "-c", "echo $((6 * 7))"}, Stdout: os.Stdout, Stderr: os.Stderr})
	if err == nil {
		fmt.Println("exit code", code)
	}
	return err
}
