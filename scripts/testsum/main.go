// Command testsum reads what "go test -json" wrote, from the files in its arguments
// at the same time or from its input, and prints what a person wants to know:
// a line for each package, all output of what failed, the reason of each skip,
// and at the end the slowest tests and the counts. It exits with 1 if anything
// failed. A subtest counts as a test. It imports the standard library only.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	failed, err := summarise(os.Stdout, inputs()...)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
	}
	if failed || err != nil {
		os.Exit(1)
	}
}

// inputs are the files of the arguments, which may be pipes.
func inputs() []io.Reader {
	if len(os.Args) == 1 {
		return []io.Reader{os.Stdin}
	}
	var out []io.Reader
	for _, name := range os.Args[1:] {
		f, err := os.Open(name)
		if err != nil {
			fmt.Fprintln(os.Stderr, "testsum:", err)
			os.Exit(1)
		}
		out = append(out, f)
	}
	return out
}

// event is what go test -json writes, one a line; see "go doc test2json".
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

type counts struct {
	passed, failed, skipped int
	// failedIn are the packages with a failed test.
	failedIn map[string]bool
	// tests are those that took a second or more, subtests not included.
	tests []event
}

// slowest is how many of the slowest tests are listed: where time can be saved
// when all of them take too long.
const slowest = 12

// input is a line of a stream, or its end.
type input struct {
	line string
	err  error
}

// summarise copies the essence of streams of events, each about other packages.
// Lines that are none (a compiler's messages) are passed on.
func summarise(w io.Writer, streams ...io.Reader) (failed bool, err error) {
	n := counts{failedIn: map[string]bool{}}
	output := map[string]*strings.Builder{}
	all := make(chan input)
	for _, r := range streams {
		go readLines(r, all)
	}
	for open := len(streams); open > 0; {
		in := <-all
		if in.line != "" {
			var e event
			if json.Unmarshal([]byte(in.line), &e) != nil || e.Action == "" {
				fmt.Fprint(w, in.line)
			} else {
				n.add(e, output, w)
			}
		}
		if in.err != nil {
			open--
		}
		if in.err != nil && !errors.Is(in.err, io.EOF) {
			err = errors.Join(err, in.err)
		}
	}
	slices.SortFunc(n.tests, func(a, b event) int { return cmp.Compare(b.Elapsed, a.Elapsed) })
	for _, e := range n.tests[:min(len(n.tests), slowest)] {
		fmt.Fprintf(w, "slow %s %s %.1fs\n", e.Package, e.Test, e.Elapsed)
	}
	fmt.Fprintf(w, "go test: %d skipped\ngo test: %d passed, %d failed\n", n.skipped, n.passed, n.failed)
	return n.failed > 0 || err != nil, err
}

// readLines sends the lines of r, and then its end.
func readLines(r io.Reader, to chan<- input) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		to <- input{line, err}
		if err != nil {
			return
		}
	}
}

func (n *counts) add(e event, output map[string]*strings.Builder, w io.Writer) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		if output[key] == nil {
			output[key] = &strings.Builder{}
		}
		output[key].WriteString(e.Output)
		return
	case "build-output":
		fmt.Fprint(w, e.Output)
		return
	case "build-fail":
		return // The package's own failure follows.
	case "pass", "fail", "skip":
	default:
		return
	}
	text := ""
	if b := output[key]; b != nil {
		text = b.String()
		delete(output, key)
	}
	if e.Test == "" {
		n.addPackage(e, text, w)
		return
	}
	if e.Elapsed >= 1 && !strings.Contains(e.Test, "/") {
		n.tests = append(n.tests, e)
	}
	switch e.Action {
	case "pass":
		n.passed++
	case "fail":
		n.failed++
		n.failedIn[e.Package] = true
		fmt.Fprintf(w, "FAIL %s %s\n%s", e.Package, e.Test, text)
	case "skip":
		n.skipped++
		fmt.Fprintf(w, "SKIP %s %s\n%s", e.Package, e.Test, text)
	}
}

// addPackage prints a package's own line. A package that fails without a failed
// test (it does not build, it panics, it runs out of time) counts as one.
func (n *counts) addPackage(e event, text string, w io.Writer) {
	switch e.Action {
	case "pass":
		fmt.Fprintf(w, "ok   %s %.1fs\n", e.Package, e.Elapsed)
	case "fail":
		if !n.failedIn[e.Package] {
			n.failed++
		}
		fmt.Fprintf(w, "FAIL %s %.1fs\n%s", e.Package, e.Elapsed, text)
	}
}
