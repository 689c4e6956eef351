package dockerfile

import (
	"slices"
	"strings"
)

// ignored are instructions that have no effect on a template.
var ignored = []string{"EXPOSE", "VOLUME", "LABEL", "STOPSIGNAL", "HEALTHCHECK", "MAINTAINER", "SHELL"}

func (r *reader) instruction(in instruction) error {
	if !r.begun && in.name != "FROM" && in.name != "ARG" {
		return errorf(in.line, "%s stands before FROM", in.name)
	}
	switch in.name {
	case "FROM":
		return r.readFrom(in)
	case "ARG":
		return r.readArg(in)
	case "ENV":
		return r.readEnv(in)
	case "RUN":
		return r.readRun(in)
	case "COPY", "ADD":
		return r.readCopy(in)
	case "USER":
		return r.readUser(in)
	case "WORKDIR":
		dir, err := r.keep(in.line, in.rest)
		if err == nil && dir == "" {
			err = errorf(in.line, "WORKDIR needs a directory")
		}
		if err != nil {
			return err
		}
		r.workdir = true
		r.add(in, "WORKDIR", dir)
		return nil
	case "CMD", "ENTRYPOINT":
		return r.readStart(in)
	case "ONBUILD":
		return errorf(in.line, "ONBUILD is not supported: nothing is built on the Dockerfile of a template")
	}
	if !slices.Contains(ignored, in.name) {
		return errorf(in.line, "unknown instruction %.40q", in.name)
	}
	r.note(in.line, in.name+" has no effect on a template")
	return nil
}

func (r *reader) readFrom(in instruction) error {
	if r.from {
		return errorf(in.line, "a second FROM: Dockerfiles with more than one stage are not supported")
	}
	r.from, r.FromLine = true, in.line
	for _, f := range in.flags {
		if f.name != "platform" {
			return errorf(in.line, "FROM has the unknown flag --%s", f.name)
		}
		r.note(in.line, "--platform has no effect: the platform is that of the server")
	}
	list := strings.Fields(in.rest)
	if len(list) != 1 && (len(list) != 3 || !strings.EqualFold(list[1], "as")) {
		return errorf(in.line, "FROM needs one image")
	}
	if r.FromTemplate != "" { // The image does not matter.
		r.begin()
		return nil
	}
	image, err := r.resolve(in.line, list[0], r.global)
	if err != nil {
		return err
	}
	name, isTemplate := strings.CutPrefix(image, TemplatePrefix)
	switch {
	case name == "":
		return errorf(in.line, "FROM names nothing")
	case isTemplate:
		r.FromTemplate = name
	case image == "scratch":
		return errorf(in.line, "FROM scratch is not supported: a template needs a shell")
	default:
		r.FromImage = image
	}
	r.begin()
	return nil
}

// readArg sets a variable for the steps behind it and, unlike Docker, for sandboxes too, as at E2B.
func (r *reader) readArg(in instruction) error {
	for _, word := range fields(in.rest, r.escape) {
		name, value, has := strings.Cut(word, "=")
		if !isName(name) {
			return errorf(in.line, "ARG needs a name, or a name and a value, not %.60q", word)
		}
		r.asked[name] = true
		if given, ok := r.args[name]; ok {
			value, has = asWord(given), true
		} else if global, ok := r.global[name]; ok && !has && r.begun {
			value, has = asWord(global), true
		}
		switch {
		case !r.begun && has:
			resolved, err := r.resolve(in.line, value, r.global)
			if err != nil {
				return err
			}
			r.global[name] = resolved
		case !r.begun || r.fixed[name]: // An ENV wins over every ARG.
		case has:
			if err := r.set(in, []assignment{{name, value}}); err != nil {
				return err
			}
		default:
			r.known[name] = ""
		}
	}
	return nil
}

// asWord is a word that stands for a text as it is.
func asWord(text string) string { return "'" + strings.ReplaceAll(text, "'", `'"'"'`) + "'" }

func (r *reader) readEnv(in instruction) error {
	var list []assignment
	words := fields(in.rest, r.escape)
	if first := words[0]; !strings.Contains(first, "=") { // The old form: a name and the rest of the line.
		list = []assignment{{first, strings.TrimSpace(in.rest[len(first):])}}
		if list[0].value == "" {
			return errorf(in.line, "ENV needs a value for %.60q", first)
		}
		words = nil
	}
	for _, word := range words {
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			return errorf(in.line, "ENV needs NAME=VALUE, not %.60q", word)
		}
		list = append(list, assignment{name, value})
	}
	for _, a := range list {
		if !isName(a.name) {
			return errorf(in.line, "ENV has the name %.60q: use letters, digits and _", a.name)
		}
		r.fixed[a.name] = true
	}
	return r.set(in, list)
}

// assignment gives a variable the value that a word has.
type assignment struct{ name, value string }

// set adds a step that sets variables. The server sets one after the other, and Docker all at once.
func (r *reader) set(in instruction, list []assignment) error {
	var args []string
	before := map[string]bool{}
	known := map[string]*string{}
	for _, a := range list {
		e := expander{escape: r.escape, dollar: `\$`, strict: true}
		e.variable = func(expression string) (string, error) {
			if name := expression[:nameLength(expression)]; before[name] {
				return "", errorf(in.line, "%s uses %s, which it sets before: the new value needs another instruction", in.name, name)
			}
			return "${" + expression + "}", nil
		}
		value, err := e.expand(a.value)
		if err != nil {
			return at(in.line, err)
		}
		args = append(args, a.name, value)
		before[a.name] = true
		known[a.name] = nil
		if text, err := r.resolve(in.line, a.value, r.known); err == nil {
			known[a.name] = &text
		}
	}
	for name, value := range known {
		if delete(r.known, name); value != nil {
			r.known[name] = *value
		}
	}
	r.add(in, "ENV", args...)
	return nil
}

func (r *reader) readUser(in instruction) error {
	name, err := r.resolve(in.line, in.rest, r.known)
	if err != nil {
		return err
	}
	name, group, hasGroup := strings.Cut(name, ":")
	if name == "" || strings.ContainsAny(name, " \t") {
		return errorf(in.line, "USER needs the name of a user")
	}
	if hasGroup {
		r.note(in.line, "the group "+group+" of USER has no effect: it is that of the user")
	}
	r.user = true
	r.add(in, "USER", name)
	return nil
}

func (r *reader) readStart(in instruction) error {
	list, ok := jsonList(in.rest)
	text := ""
	if !ok {
		text = in.rest
	}
	if in.name == "CMD" {
		r.cmd, r.cmdText = list, text
	} else {
		r.entrypoint, r.entrypointText = list, text
	}
	return nil
}
