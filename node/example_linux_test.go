package node_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/runtime"
	"github.com/rundlet/rundlet/sandbox"
)

// A program that opens a node in a directory of its own, runs one command in a
// sandbox and removes everything. The body of Example is that of main.
func Example() {
	node.Init() // Must be the first statement of main.

	ctx, logger := context.Background(), log.New(os.Stderr, "", 0)
	dir, err := os.MkdirTemp("", "node")
	if err != nil {
		logger.Fatal(err)
	}
	defer os.RemoveAll(dir)
	n, err := node.Open(ctx, node.Config{
		Dirs:      layout.Layout{StateDir: filepath.Join(dir, "state"), CacheDir: filepath.Join(dir, "cache"), RunDir: filepath.Join(dir, "run")},
		Ephemeral: true,
		NoUplink:  true,
	})
	if err != nil {
		logger.Fatal(err)
	}
	sb, err := n.Runtime.Create(ctx, sandbox.CreateRequest{Template: runtime.BaseAlias, Timeout: time.Hour, Secure: true})
	if err != nil {
		logger.Fatal(err)
	}
	code, err := n.Agent(sb).Run(ctx, client.Command{Args: []string{"sh", "-c", "echo $((6 * 7))"}, Stdout: os.Stdout, Stderr: os.Stderr})
	if err != nil {
		logger.Fatal(err)
	}
	fmt.Println("exit code", code)
	if err := n.Close(node.EndAll); err != nil {
		logger.Fatal(err)
	}
}
