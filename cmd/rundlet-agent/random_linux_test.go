package main

import (
	"os"
	"testing"

	"github.com/rundlet/rundlet/envd"
)

func TestForksDrawDifferentKernelRandomness(t *testing.T) {
	parent := newNode(t).boot()
	parent.init()
	// The same seed for all: what differs does not do so because of it.
	children := parent.fork(2, func(req *envd.InitRequest) { req.RandomSeed = []byte("the same for all") })
	for what, script := range map[string]string{
		"getrandom":           `python3 -c 'import os; print(os.getrandom(16).hex())'`,
		"/dev/urandom":        "head -c 16 /dev/urandom | od -An -tx1",
		"/dev/random":         "head -c 16 /dev/random | od -An -tx1",
		"the kernel's uuid":   "cat /proc/sys/kernel/random/uuid",
		"a program's hashing": `python3 -c 'print(hash("x"))'`,
	} {
		differ(t, what, script, children...)
	}
}

// ask sends a word to a server on the guest's loopback and prints the answer.
const ask = `ask() { exec 3<>/dev/tcp/127.0.0.1/8000; echo $1 >&3; cat <&3; exec 3>&-; }; `

func TestForksOfAPythonProcessShareItsRandomStateUnlessItListens(t *testing.T) {
	parent := newNode(t).boot()
	parent.init()
	parent.background("python3", "dice.py")
	children := parent.fork(2)
	a, b := children[0].sh(ask+"ask x"), children[1].sh(ask+"ask x")
	if a != b || a == "" {
		t.Errorf("%q and %q: the random state is not shared, so this test shows nothing", a, b)
	}
	differ(t, "random.random() of a process that looks at the generation", ask+"ask careful", children...)
}

func TestHooksReseedAProcessThatDoesNotListen(t *testing.T) {
	parent := newNode(t).boot()
	parent.init()
	parent.background("python3", "dice.py")
	parent.sh(`mkdir -p /etc/rundlet/restored.d
cat > /etc/rundlet/restored.d/10-reseed <<'END OF SCRIPT'
#!/bin/sh
kill -HUP $(cat /tmp/server.pid)
(id -un; echo "$RUNDLET_GENERATION $E2B_SANDBOX_ID") > /tmp/hook.new
mv /tmp/hook.new /tmp/hook
END OF SCRIPT
chmod 755 /etc/rundlet/restored.d/10-reseed`)
	children := parent.fork(2)
	for _, b := range children {
		want := "root\n" + b.sh("cat /run/rundlet/generation") + " " + b.id
		if got := b.sh("until [ -s /tmp/hook ]; do sleep 0.02; done; cat /tmp/hook"); got != want {
			t.Errorf("the hook saw %q, want %q", got, want)
		}
	}
	differ(t, "random.random() of a process that a hook notified", ask+"ask x", children...)
}

func TestForksOfANodeProcessShareItsRandomStateButNotTheKernels(t *testing.T) {
	if _, err := os.Stat("/usr/bin/node"); err != nil {
		t.Skip("the base of this host has no node")
	}
	parent := newNode(t).boot()
	parent.init()
	parent.background("node", "dice.js")
	children := parent.fork(2)
	for _, what := range []string{"math", "crypto", "uuid"} {
		a, b := children[0].sh(ask+"ask "+what), children[1].sh(ask+"ask "+what)
		if a != b || a == "" {
			t.Errorf("%s: %q and %q: the random state is not shared, and docs/fork-safety.md says that it is", what, a, b)
		}
	}
	differ(t, "/dev/urandom", ask+"ask urandom", children...)
	for _, b := range children {
		// The watch lives on in the copy.
		got := b.sh(ask + "until [ $(ask news) != none ]; do sleep 0.02; done; ask news")
		if want := b.sh("cat /run/rundlet/generation"); got != want {
			t.Errorf("the watch reported %q, want %q", got, want)
		}
	}
}
