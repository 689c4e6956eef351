// Package recipe reads the recipes of templates: it checks their steps, and names the state
// after each by a digest, so that a later build finds it again. It is pure, and may import sandbox.
package recipe

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/rundlet/rundlet/sandbox"
)

// The bounds of a recipe.
const (
	MaxSteps   = 1000
	maxArg     = 128 << 10 // bytes of one argument; Linux takes no longer one
	maxCommand = 64 << 10  // bytes of the commands that start a template
)

// Step is one instruction of a recipe, read.
type Step struct {
	// Run is set for RUN, and Copy for COPY; of the others exactly one is.
	Run     *Run
	Copy    *Copy
	Workdir string
	User    string
	Env     []Variable // of ENV and ARG
	// Text is the step for a log.
	Text string
	// Force does the step, and those after it, also if they were done before.
	Force bool
}

// ChangesMachine reports whether the step does more than to say something about those that follow.
func (s Step) ChangesMachine() bool { return s.Run != nil || s.Copy != nil }

// Run is a command. User is empty for the one that the steps before it set.
type Run struct{ Command, User string }

// Copy puts uploaded files into the template. Hash names the files; Mode is octal, or empty.
type Copy struct{ Source, Destination, User, Mode, Hash string }

// Variable is a name of the environment and what it shall be, in which the shell replaces variables.
type Variable struct{ Name, Value string }

// Read checks the steps of a recipe. Errors are sandbox.ErrInvalid with the number of the step.
func Read(r sandbox.Recipe) ([]Step, error) {
	if (r.FromImage == "") == (r.FromTemplate == "") {
		return nil, fmt.Errorf("%w: a build begins with either an image or a template", sandbox.ErrInvalid)
	}
	if len(r.Steps) > MaxSteps {
		return nil, fmt.Errorf("%w: a recipe has at most %d steps", sandbox.ErrInvalid, MaxSteps)
	}
	if len(r.StartCmd) > maxCommand || len(r.ReadyCmd) > maxCommand || strings.ContainsRune(r.StartCmd+r.ReadyCmd, 0) {
		return nil, fmt.Errorf("%w: the start command or the ready command has a NUL byte or more than %d bytes", sandbox.ErrInvalid, maxCommand)
	}
	steps := make([]Step, 0, len(r.Steps))
	for i, step := range r.Steps {
		s, err := read(step)
		if err != nil {
			return nil, fmt.Errorf("%w: step %d: %w", sandbox.ErrInvalid, i+1, err)
		}
		steps = append(steps, s)
	}
	return steps, nil
}

var (
	userName     = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	octal        = regexp.MustCompile(`^0?[0-7]{3,4}$`)
	filesHash    = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// ValidHash reports whether a text can name uploaded files.
func ValidHash(hash string) bool { return filesHash.MatchString(hash) }

func read(step sandbox.RecipeStep) (Step, error) {
	s := Step{Text: step.Type + " " + strings.Join(step.Args, " "), Force: step.Force}
	for _, arg := range step.Args {
		if len(arg) > maxArg || strings.ContainsRune(arg, 0) {
			return s, fmt.Errorf("an argument has a NUL byte or more than %d bytes", maxArg)
		}
	}
	arg := func(i int) string {
		if i < len(step.Args) {
			return step.Args[i]
		}
		return ""
	}
	switch step.Type {
	case "RUN":
		if s.Run = (&Run{arg(0), arg(1)}); arg(0) == "" {
			return s, fmt.Errorf("RUN needs a command")
		}
	case "COPY":
		s.Copy = &Copy{Source: arg(0), Destination: arg(1), User: arg(2), Mode: arg(3), Hash: step.FilesHash}
		switch {
		case arg(0) == "" || arg(1) == "":
			return s, fmt.Errorf("COPY needs a source and a destination")
		case !ValidHash(step.FilesHash):
			return s, fmt.Errorf("COPY needs filesHash, 64 hexadecimal digits")
		case arg(3) != "" && !octal.MatchString(arg(3)):
			return s, fmt.Errorf("COPY has the mode %.40q: use octal digits, as in 0755", arg(3))
		}
	case "WORKDIR":
		if s.Workdir = arg(0); s.Workdir == "" {
			return s, fmt.Errorf("WORKDIR needs a directory")
		}
	case "USER":
		if s.User = arg(0); !userName.MatchString(s.User) {
			return s, fmt.Errorf("USER needs the name of a user, not %.80q", s.User)
		}
	case "ENV", "ARG":
		return s, s.variables(step.Args)
	default:
		return s, fmt.Errorf("%.40q is unknown: use COPY, RUN, WORKDIR, USER, ENV or ARG", step.Type)
	}
	return s, nil
}

func (s *Step) variables(args []string) error {
	if len(args) == 0 || len(args)%2 != 0 {
		return fmt.Errorf("ENV needs names with their values")
	}
	for i := 0; i < len(args); i += 2 {
		if !variableName.MatchString(args[i]) {
			return fmt.Errorf("ENV has the name %.80q: use letters, digits and _", args[i])
		}
		s.Env = append(s.Env, Variable{args[i], args[i+1]})
	}
	return nil
}

// Chain names the state after a step: prev names the one before it, and content is the digest of the files that
// the step copies, if it copies any. The same name means the same state, as far as the steps decide it.
func Chain(prev string, s Step, content string) string {
	s.Force, s.Text = false, ""
	if s.Copy != nil {
		bare := *s.Copy
		bare.Hash = content // Not what the client said that they are.
		s.Copy = &bare
	}
	return Digest(prev, s)
}

// Digest names values that encode as JSON.
func Digest(values ...any) string {
	text, _ := json.Marshal(values) // They are ours, and encode.
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Quote is a command for a POSIX shell that prints a value with its variables replaced, but for those after a backslash, and
// runs none of the commands in it.
func Quote(value string) string {
	r := strings.NewReplacer(`\$`, `\$`, `\`, `\\`, `"`, `\"`, "`", "\\`", "$(", `\$(`)
	return `printf %s "` + r.Replace(value) + `"`
}

// Word is a text as one word for a POSIX shell.
func Word(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// IsBaseImage reports whether the name of an image is that of E2B's own base, for which the base of this machine stands.
func IsBaseImage(name string) bool {
	name = strings.TrimPrefix(name, "docker.io/")
	return name == "e2bdev/base" || name == "e2bdev/base:latest"
}
