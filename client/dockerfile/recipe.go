package dockerfile

import (
	"errors"
	"maps"
	"slices"

	"github.com/rundlet/rundlet/sandbox"
)

// Options change what a Dockerfile says.
type Options struct {
	// FromTemplate begins with a template, whatever FROM says, which may be missing then.
	FromTemplate string
	// Args are the values of its ARG instructions.
	Args map[string]string
}

// Recipe is a Dockerfile as a recipe of a template.
type Recipe struct {
	// FromImage or FromTemplate is what it begins with.
	FromImage, FromTemplate string
	// FromLine is the line of FROM; 0 is none.
	FromLine int
	Steps    []Step
	// StartCmd is of ENTRYPOINT and CMD; ReadyCmd goes with it. Both may be empty.
	StartCmd, ReadyCmd string
	// Notes are about instructions that have no effect.
	Notes []Note
}

// Step is a step of a recipe.
type Step struct {
	sandbox.RecipeStep
	// Line is that of its instruction; 0 is a step that every Dockerfile has.
	Line int
	// Text is its instruction, in one line.
	Text string
	// Sources are those of a COPY, paths or patterns in the context, whose files are to be uploaded. Args has the first.
	Sources []string
}

// Note is a remark about a line.
type Note struct {
	Line    int
	Message string
}

// TemplatePrefix begins the name of a template in FROM.
const TemplatePrefix = "template:"

// The ready command of a start command that the Dockerfile has, and the user and the directory at the end, as E2B has them.
const (
	ReadyCmd    = "sleep 20"
	lastUser    = "user"
	lastWorkdir = "/home/user"
)

// Read reads a Dockerfile. Its errors are *Error.
func Read(text string, o Options) (Recipe, error) {
	list, escape, err := parse(text)
	if err != nil {
		return Recipe{}, err
	}
	r := &reader{escape: escape, args: o.Args, known: map[string]string{}, global: map[string]string{}, fixed: map[string]bool{}, asked: map[string]bool{}}
	r.FromTemplate = o.FromTemplate
	if r.FromTemplate != "" && !slices.ContainsFunc(list, func(in instruction) bool { return in.name == "FROM" }) {
		r.begin()
	}
	for _, in := range list {
		if err := r.instruction(in); err != nil {
			return Recipe{}, err
		}
	}
	if !r.begun {
		return Recipe{}, errorf(0, "the Dockerfile has no FROM")
	}
	for _, name := range slices.Sorted(maps.Keys(o.Args)) {
		if !r.asked[name] {
			r.note(0, "no ARG asks for "+name)
		}
	}
	r.end()
	return r.Recipe, nil
}

// reader reads the instructions of a Dockerfile, one after the other.
type reader struct {
	Recipe
	escape byte
	args   map[string]string // Values that were given.
	// known are the variables whose values are known here, and global those before FROM. fixed are set by ENV, which no ARG changes.
	known, global map[string]string
	fixed         map[string]bool
	asked         map[string]bool // Given values that an ARG takes.

	begun, from     bool // The stage has begun; there was a FROM.
	user, workdir   bool // An instruction has set them.
	entrypoint, cmd []string
	// In shell form.
	entrypointText, cmdText string
}

func (r *reader) note(line int, message string) { r.Notes = append(r.Notes, Note{line, message}) }

func (r *reader) add(in instruction, kind string, args ...string) *Step {
	r.Steps = append(r.Steps, Step{RecipeStep: sandbox.RecipeStep{Type: kind, Args: args}, Line: in.line, Text: in.text()})
	return &r.Steps[len(r.Steps)-1]
}

// NewStep returns the step of an instruction; one of line 0 is a step that no instruction asks for.
func NewStep(line int, text, kind string, args ...string) Step {
	return Step{RecipeStep: sandbox.RecipeStep{Type: kind, Args: args}, Line: line, Text: text}
}

func implied(kind, arg string) Step { return NewStep(0, kind+" "+arg, kind, arg) }

// First are the steps with which every recipe begins.
func First() []Step { return []Step{implied("USER", "root"), implied("WORKDIR", "/")} }

// Last are those with which a recipe ends that has set no user, or no directory.
func Last(user, workdir bool) (steps []Step) {
	if !user {
		steps = append(steps, implied("USER", lastUser))
	}
	if !workdir {
		steps = append(steps, implied("WORKDIR", lastWorkdir))
	}
	return steps
}

func (r *reader) begin() {
	r.begun = true
	r.Steps = append(r.Steps, First()...)
}

func (r *reader) end() {
	r.Steps = append(r.Steps, Last(r.user, r.workdir)...)
	switch {
	case r.entrypointText != "": // The shell form ignores CMD.
		r.StartCmd = r.entrypointText
	case len(r.entrypoint) > 0:
		command := append(append([]string{}, r.entrypoint...), r.cmd...)
		if r.cmdText != "" {
			command = append(command, "/bin/sh", "-c", r.cmdText)
		}
		r.StartCmd = shellWords(command)
	case r.cmdText != "":
		r.StartCmd = r.cmdText
	case len(r.cmd) > 0:
		r.StartCmd = shellWords(r.cmd)
	}
	if r.StartCmd != "" {
		r.ReadyCmd = ReadyCmd
	}
}

// resolve replaces the variables of a word by their values, which must be known.
func (r *reader) resolve(line int, word string, known map[string]string) (string, error) {
	e := expander{escape: r.escape, dollar: "$"}
	e.variable = func(expression string) (string, error) { return evaluate(expression, known, e) }
	value, err := e.expand(word)
	return value, at(line, err)
}

// keep leaves the variables of a word to the server.
func (r *reader) keep(line int, word string) (string, error) {
	e := expander{escape: r.escape, dollar: `\$`, strict: true}
	e.variable = func(expression string) (string, error) { return "${" + expression + "}", nil }
	value, err := e.expand(word)
	return value, at(line, err)
}

// at gives an error the line that it is about.
func at(line int, err error) error {
	if err == nil || errors.As(err, new(*Error)) {
		return err
	}
	return &Error{line, err.Error()}
}
