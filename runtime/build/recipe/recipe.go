// Package recipe reads the recipes of templates, and names the state after each of their steps
// by a digest, so that a later build finds it again. It is pure, and may import sandbox.
package recipe

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/rundlet/rundlet/sandbox"
)

// Step is one instruction of a recipe, read.
type Step struct {
	// Run is set for RUN, Copy for COPY, and Clone for CLONE; of the others exactly one is.
	Run     *Run
	Copy    *Copy
	Clone   *Clone
	Workdir string
	User    string
	Env     []Variable // of ENV and ARG
	// Text is the step for a log.
	Text string
	// Force does the step, and those after it, also if they were done before.
	Force bool
}

// ChangesMachine reports whether the step does more than to say something about those that follow.
func (s Step) ChangesMachine() bool { return s.Run != nil || s.Copy != nil || s.Clone != nil }

// Moves reports whether the step has another result when it is done again, without any change of the recipe: a branch and a tag move.
func (s Step) Moves() bool { return s.Clone != nil && !sandbox.ValidCommit(s.Clone.Ref) }

// Clone is a clone of a repository. Ref is a branch, a tag or a commit, or empty for the branch that the repository says; an
// empty Directory has the repository's name.
type Clone struct{ URL, Ref, Directory string }

// Run is a command. User is empty for the one that the steps before it set.
type Run struct{ Command, User string }

// Copy puts uploaded files into the template. Hash names the files; Mode is octal, or empty.
type Copy struct{ Source, Destination, User, Mode, Hash string }

// Variable is a name of the environment and what it shall be, in which the shell replaces variables.
type Variable struct{ Name, Value string }

// Read returns the steps of a recipe. Errors are those of its Check.
func Read(r sandbox.Recipe) ([]Step, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	steps := make([]Step, len(r.Steps))
	for i, step := range r.Steps {
		steps[i] = read(step)
	}
	return steps, nil
}

func read(step sandbox.RecipeStep) Step {
	s := Step{Text: step.Type + " " + strings.Join(step.Args, " "), Force: step.Force}
	switch step.Type {
	case "RUN":
		s.Run = &Run{step.Arg(0), step.Arg(1)}
	case "COPY":
		s.Copy = &Copy{Source: step.Arg(0), Destination: step.Arg(1), User: step.Arg(2), Mode: step.Arg(3), Hash: step.FilesHash}
	case "CLONE":
		s.Clone = &Clone{URL: step.Arg(0), Ref: step.Arg(1), Directory: step.Arg(2)}
	case "WORKDIR":
		s.Workdir = step.Arg(0)
	case "USER":
		s.User = step.Arg(0)
	default: // ENV and ARG
		for i := 0; i < len(step.Args); i += 2 {
			s.Env = append(s.Env, Variable{step.Args[i], step.Args[i+1]})
		}
	}
	return s
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
