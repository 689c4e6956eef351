package guard

import (
	"path"
	"slices"
	"strings"
)

// ban forbids an import, or a name of an import, in the directories in and below
// in ("" is everywhere), except below the directories of except.
type ban struct {
	importPath string
	name       string // "" is the import itself
	in         string
	except     []string
	// tests: the ban counts for test files too.
	tests bool
	why   string
}

var bans = slices.Concat(globalLogger(), purity(), []ban{
	{importPath: "io/ioutil", tests: true, why: "deprecated: os and io have all of it"},
	{importPath: "math/rand", tests: true, why: "use math/rand/v2, or crypto/rand for what must not be guessed"},
	{importPath: "C", tests: true, why: "the binary is static and cross-builds without a C compiler"},
	{importPath: "plugin", tests: true, why: "one static binary"},
	{importPath: "expvar", why: "registers itself on the default HTTP mux, which a server may expose by mistake"},
	{importPath: "net/http/pprof", why: "registers itself on the default HTTP mux, which a server may expose by mistake"},
	{importPath: "github.com/pkg/errors", tests: true, why: "errors are wrapped with fmt.Errorf and %w"},
	{importPath: "unsafe", except: []string{"network", "vm", "agent", "internal/cgroups", "internal/process"}, why: "only system calls without a wrapper need it"},
	{importPath: "os/exec", except: []string{"agent", "vm", "cmd", "e2e", "bench/compare", "bench/local", "internal/tools", "internal/crashdisk", "internal/embedded/build", "internal/testmachine", "internal/testspace", "node/certificate/acme", "node/rootless"},
		why: "a library call is faster, and its errors say more, than a command line"},
	{importPath: "testing", except: []string{"vm/vmtest", "vm/microvm/drivertest"}, why: "it adds flags to the program; test helpers belong in _test.go files"},
	{importPath: "time", name: "Sleep", tests: true, why: "wait for the event itself, a timer or testing/synctest: a sleep is too long or too short"},
})

// pure are the directories whose code decides and describes, and does nothing.
var pure = []string{"policy", "sandbox", "simulate"}

// purity bans I/O and the clock in pure directories.
func purity() []ban {
	var out []ban
	for _, in := range pure {
		for _, p := range []string{"os", "net", "net/http", "syscall", "database/sql"} {
			out = append(out, ban{importPath: p, in: in, why: in + " does no I/O"})
		}
		for _, name := range []string{"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker"} {
			out = append(out, ban{importPath: "time", name: name, in: in, why: in + " has no clock: the time is passed in"})
		}
	}
	return out
}

// globalLogger bans what writes to the logger of package log. The type
// *log.Logger is allowed: http.Server takes one.
func globalLogger() []ban {
	var out []ban
	for _, name := range []string{
		"Default", "Fatal", "Fatalf", "Fatalln", "Panic", "Panicf", "Panicln", "Print", "Printf", "Println", "SetOutput",
	} {
		out = append(out, ban{importPath: "log", name: name, tests: true, except: []string{"internal/stdlog"},
			why: "a global logger cannot be tested or redirected: take a *slog.Logger"})
	}
	return out
}

// Bans checks the forbidden imports.
func Bans(sources []Source) []Finding {
	var out []Finding
	for _, s := range sources {
		if s.Generated {
			continue
		}
		for _, b := range bans {
			if !b.appliesTo(s) {
				continue
			}
			if b.name == "" && s.imports(b.importPath) {
				out = append(out, findingf(s.Path, "imports %s: %s", b.importPath, b.why))
			}
			if b.name != "" {
				for _, line := range s.Calls(b.importPath, b.name) {
					out = append(out, findingf(s.Path, "line %d has %s.%s: %s", line, path.Base(b.importPath), b.name, b.why))
				}
			}
		}
	}
	return out
}

func (b ban) appliesTo(s Source) bool {
	dir := s.Dir()
	switch {
	case s.Test() && !b.tests, b.in != "" && !within(dir, b.in), withinAny(dir, b.except):
		return false
	case b.name == "Sleep" && s.Test() && s.imports("testing/synctest"):
		return false // Under synctest a sleep takes no time and is exact.
	}
	return true
}

// pureLibraries have neither I/O nor a clock.
var pureLibraries = []string{"go4.org/netipx", "golang.org/x/net/http/httpguts"}

// thirdPartyPure: pure packages may import the standard library only, and what is as pure, so that
// no dependency brings I/O or a clock in.
func thirdPartyPure(sources []Source) []Finding {
	var out []Finding
	for _, s := range sources {
		if s.Test() || !withinAny(s.Dir(), pure) {
			continue
		}
		for _, p := range s.Imports() {
			if !standard(p) && !strings.HasPrefix(p, Module+"/") && !slices.Contains(pureLibraries, p) {
				out = append(out, findingf(s.Path, "imports %s: %s is pure", p, s.Dir()))
			}
		}
	}
	return out
}
