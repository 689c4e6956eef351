// Package recipefile reads rundlet.yaml: a template in YAML, as the same recipe that a Dockerfile gives. It is strict: what it does not
// know is an error with its line. It runs nothing and reads no file. It may import client/dockerfile, sandbox and go.yaml.in/yaml/v3.
package recipefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/rundlet/rundlet/client/dockerfile"
)

// Name is that of the file in a directory.
const Name = "rundlet.yaml"

// maxSize bounds a file, in bytes.
const maxSize = 4 << 20

// File is a template in YAML.
type File struct {
	// Name is without a tag; both may be empty.
	Name string
	Tags []string
	// CPU and MemoryMiB are the size of its sandboxes; 0 is the server's.
	CPU, MemoryMiB int
	// WarmUp are the commands that fill caches before the template is saved.
	WarmUp []string
	Recipe dockerfile.Recipe
}

// Read reads a file. fromTemplate, if not empty, is used in place of from. Its errors are *dockerfile.Error.
func Read(text []byte, fromTemplate string) (File, error) {
	var f File
	if len(text) > maxSize {
		return f, errorf(0, "the file must have at most %d bytes", maxSize)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return f, errorf(0, "the file is empty")
	} else if err != nil {
		return f, syntax(err)
	}
	var more yaml.Node
	if err := dec.Decode(&more); err == nil {
		return f, errorf(more.Line, "there must be one document")
	} else if !errors.Is(err, io.EOF) {
		return f, syntax(err)
	}
	r := &reader{fromTemplate: fromTemplate}
	if err := r.top(doc.Content[0]); err != nil {
		return f, err
	}
	return r.File, nil
}

func errorf(line int, format string, args ...any) error {
	return &dockerfile.Error{Line: line, Message: fmt.Sprintf(format, args...)}
}

var lineOf = regexp.MustCompile(`^yaml: line ([0-9]+): `)

// syntax is an error of the parser.
func syntax(err error) error {
	if m := lineOf.FindStringSubmatch(err.Error()); m != nil {
		line, _ := strconv.Atoi(m[1])
		return errorf(line, "%s", strings.TrimPrefix(err.Error(), m[0]))
	}
	return errorf(0, "%s", strings.TrimPrefix(err.Error(), "yaml: "))
}

type reader struct {
	File
	fromTemplate  string
	user, workdir bool // A step has set them.
}

// fields calls the function for each key of a mapping, and refuses other keys, and one that is there twice.
func fields(n *yaml.Node, what string, known map[string]func(*yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return errorf(n.Line, "%s must be a mapping, as in KEY: VALUE", what)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		read := known[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || read == nil:
			return errorf(key.Line, "%s has no field %.60q", what, key.Value)
		case seen[key.Value]:
			return errorf(key.Line, "%s has the field %s twice", what, key.Value)
		}
		seen[key.Value] = true
		if err := read(value); err != nil {
			return err
		}
	}
	return nil
}

// text reads a text, or a number or truth value that stands for its text.
func text(into *string, what string) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Value == "" {
			return errorf(n.Line, "%s must be a text", what)
		}
		*into = n.Value
		return nil
	}
}

func number(into *int, what string) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		v, err := strconv.Atoi(n.Value)
		if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || err != nil || v <= 0 {
			return errorf(n.Line, "%s must be a positive number", what)
		}
		*into = v
		return nil
	}
}

// list reads one text or several.
func list(into *[]string, what string) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		items := []*yaml.Node{n}
		if n.Kind == yaml.SequenceNode {
			items = n.Content
		}
		for _, item := range items {
			var one string
			if err := text(&one, what)(item); err != nil {
				return err
			}
			*into = append(*into, one)
		}
		if len(items) == 0 {
			return errorf(n.Line, "%s must not be empty", what)
		}
		return nil
	}
}

func (r *reader) top(n *yaml.Node) error {
	var from string
	var steps *yaml.Node
	err := fields(n, "the file", map[string]func(*yaml.Node) error{
		"name": text(&r.Name, "name"), "tags": list(&r.Tags, "tags"), "cpu": number(&r.CPU, "cpu"), "memory": number(&r.MemoryMiB, "memory"),
		"start": text(&r.Recipe.StartCmd, "start"), "ready": text(&r.Recipe.ReadyCmd, "ready"),
		"warm-up": list(&r.WarmUp, "warm-up"),
		"from": func(n *yaml.Node) error {
			r.Recipe.FromLine = n.Line
			return text(&from, "from")(n)
		},
		"steps": func(n *yaml.Node) error {
			if steps = n; n.Kind != yaml.SequenceNode {
				return errorf(n.Line, "steps must be a list")
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	if template, ok := strings.CutPrefix(from, dockerfile.TemplatePrefix); ok {
		r.Recipe.FromTemplate = template
	} else {
		r.Recipe.FromImage = from
	}
	if r.fromTemplate != "" {
		r.Recipe.FromTemplate, r.Recipe.FromImage = r.fromTemplate, ""
	}
	if r.Recipe.FromTemplate == "" && r.Recipe.FromImage == "" {
		return errorf(n.Line, "from must name an image, or a template as in %sbase", dockerfile.TemplatePrefix)
	}
	if r.Recipe.StartCmd != "" && r.Recipe.ReadyCmd == "" {
		r.Recipe.ReadyCmd = dockerfile.ReadyCmd
	}
	r.Recipe.Steps = dockerfile.First()
	if steps != nil {
		for _, step := range steps.Content {
			if err := r.step(step); err != nil {
				return err
			}
		}
	}
	r.Recipe.Steps = append(r.Recipe.Steps, dockerfile.Last(r.user, r.workdir)...)
	return nil
}

// step reads a step, which has one key.
func (r *reader) step(n *yaml.Node) error {
	if n.Kind == yaml.MappingNode && len(n.Content) != 2 {
		return errorf(n.Line, "a step must have one field, as in run: COMMAND; got %d", len(n.Content)/2)
	}
	add := func(text, kind string, args ...string) *dockerfile.Step {
		r.Recipe.Steps = append(r.Recipe.Steps, dockerfile.NewStep(n.Line, text, kind, args...))
		return &r.Recipe.Steps[len(r.Recipe.Steps)-1]
	}
	one := func(kind string, done func()) func(*yaml.Node) error {
		return func(v *yaml.Node) error {
			var value string
			if err := text(&value, strings.ToLower(kind))(v); err != nil {
				return err
			}
			add(strings.ToLower(kind)+": "+value, kind, value)
			done()
			return nil
		}
	}
	return fields(n, "a step", map[string]func(*yaml.Node) error{
		"run":     one("RUN", func() {}),
		"user":    one("USER", func() { r.user = true }),
		"workdir": one("WORKDIR", func() { r.workdir = true }),
		"env": func(v *yaml.Node) error {
			args, names, err := variables(v)
			if err == nil {
				add("env: "+strings.Join(names, ", "), "ENV", args...)
			}
			return err
		},
		"clone": func(v *yaml.Node) error {
			var repo, ref, to string
			err := fields(v, "clone", map[string]func(*yaml.Node) error{"url": text(&repo, "url"), "ref": text(&ref, "ref"), "to": text(&to, "to")})
			if err == nil && repo == "" {
				err = errorf(v.Line, "clone needs url")
			}
			if err == nil {
				add("clone: "+repo, "CLONE", repo, ref, to)
			}
			return err
		},
		"copy": func(v *yaml.Node) error {
			var sources []string
			var to, owner, mode string
			err := fields(v, "copy", map[string]func(*yaml.Node) error{
				"from": list(&sources, "from"), "to": text(&to, "to"), "owner": text(&owner, "owner"), "mode": text(&mode, "mode")})
			switch {
			case err != nil:
				return err
			case len(sources) == 0 || to == "":
				return errorf(v.Line, "copy needs from and to")
			case len(sources) > 1 && !strings.HasSuffix(to, "/") && path.Base(to) != ".":
				return errorf(v.Line, "to must end with a slash for more than one source, got %.80q", to)
			case mode != "" && !octal.MatchString(mode):
				return errorf(v.Line, "mode must be octal and in quotes, such as \"0755\"; got %.40q", mode)
			}
			add("copy: "+strings.Join(sources, ", ")+" to "+to, "COPY", sources[0], to, owner, mode).Sources = sources
			return nil
		},
	})
}

var (
	octal    = regexp.MustCompile(`^[0-7]{3,4}$`)
	variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// variables reads a mapping of variables, in its order.
func variables(n *yaml.Node) (args, names []string, err error) {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		return nil, nil, errorf(n.Line, "env must be a mapping, as in NAME: VALUE")
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode || !variable.MatchString(key.Value):
			return nil, nil, errorf(key.Line, "env has the name %.60q: use letters, digits and _", key.Value)
		case seen[key.Value]:
			return nil, nil, errorf(key.Line, "env has the name %s twice", key.Value)
		case value.Kind != yaml.ScalarNode || value.Tag == "!!null":
			return nil, nil, errorf(value.Line, "the value of %s must be a text", key.Value)
		}
		seen[key.Value] = true
		args, names = append(args, key.Value, value.Value), append(names, key.Value)
	}
	return args, names, nil
}
