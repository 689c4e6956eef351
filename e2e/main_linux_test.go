package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/crashdisk"
)

// The variables by which one stage of the test binary talks to the next.
const (
	// binEnv names the server under test; "make e2e" sets it.
	binEnv = "RUNDLET_BIN"
	// caseEnv narrows every suite to the cases whose name matches.
	caseEnv = "E2E_CASE"
	// stageEnv is empty in the process that go test starts.
	stageEnv = "RUNDLET_E2E_STAGE"
	// dirEnv is the scratch directory, owned by the first stage.
	dirEnv = "RUNDLET_E2E_DIR"
)

// soak is what "make soak" asks for. The SDKs have a part in one of its tests only.
var soak = flag.Bool("soak", false, "run the long forms of the tests that have one")

const (
	stageInit  = "init"
	stageTests = "tests"
	// stageAttack is not on the way: a test starts it, see startAttackers.
	stageAttack = "attack"
)

// TestMain runs the binary three times over: outside, where SDKs are installed;
// as init of fresh namespaces; and inside them, where the tests run. Whatever
// happens in there, the kernel clears it away when init ends.
func TestMain(m *testing.M) {
	crashdisk.ServeIfAsked()
	flag.Parse()
	var (
		code int
		err  error
	)
	switch stage := os.Getenv(stageEnv); {
	case stage == stageInit:
		code, err = runInit()
	case stage == stageAttack:
		code, err = runAttackers()
	case stage == stageTests, os.Getenv(binEnv) == "":
		code = m.Run()
	default:
		code, err = runOutside()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

// runOutside installs the SDKs, which needs the network, and then goes where
// there is none.
func runOutside() (int, error) {
	bin, err := executable(os.Getenv(binEnv))
	if err != nil {
		return 1, err
	}
	if os.Geteuid() != 0 {
		return 1, fmt.Errorf("the server needs separate namespaces: run as root")
	}
	if err := getAll(); err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "rundlet-e2e-")
	if err != nil {
		return 1, err
	}
	code, err := enterNamespaces(bin, dir)
	if rmErr := os.RemoveAll(dir); err == nil && rmErr != nil {
		return 1, fmt.Errorf("the server left something that cannot be removed: %w", rmErr)
	}
	return code, err
}

// wanted are the SDKs that tests of this run use.
func wanted() []suite {
	run := flag.Lookup("test.run").Value.String()
	switch crowded, err := regexp.MatchString(run, crowdTest); {
	case os.Getenv(debsEnv) != "":
		return recipeClients()
	case !*soak:
		return slices.Concat(suites, interpreters)
	case err == nil && crowded: // One that cannot be read is refused later.
		return crowdSDKs
	}
	return nil
}

// getAll installs and downloads what the tests use and is not there yet. Runs wait for each other.
func getAll() error {
	here, err := os.Open(".")
	if err != nil {
		return err
	}
	defer here.Close() // Which unlocks it.
	if err := unix.Flock(int(here.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	if err := installSuites(wanted()); err != nil {
		return err
	}
	if !*soak && os.Getenv(debsEnv) == "" {
		if err := downloadWheels(); err != nil {
			return err
		}
	}
	if os.Getenv(recipesEnv) != "" {
		return downloadRecipes(context.Background())
	}
	return nil
}

func installSuites(suites []suite) error {
	if len(suites) == 0 {
		return nil
	}
	if err := checkTools(); err != nil {
		return err
	}
	for _, s := range suites {
		if err := s.install(); err != nil {
			return fmt.Errorf("install %s: %w", s.name(), err)
		}
	}
	return nil
}
