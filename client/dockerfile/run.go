package dockerfile

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

func (r *reader) readRun(in instruction) error {
	for _, f := range in.flags {
		switch {
		case f.name == "mount" && slices.Contains(strings.Split(f.value, ","), "type=cache"):
			r.note(in.line, "--mount of a cache has no effect")
		case f.name == "network" && f.value == "default":
		default:
			return errorf(in.line, "RUN has the flag --%s=%s, which is not supported", f.name, f.value)
		}
	}
	r.add(in, "RUN", command(in))
	return nil
}

// command is the command of a RUN for the shell.
func command(in instruction) string {
	if list, ok := jsonList(in.rest); ok && len(in.docs) == 0 && len(list) > 0 {
		return shellWords(list)
	}
	if len(in.docs) == 1 && in.rest == in.docs[0].token {
		return script(in.docs[0])
	}
	text := in.rest
	for _, doc := range in.docs {
		text += "\n" + doc.body + doc.end
	}
	return text
}

// script is a command that runs a document, by the program that its first line names.
func script(doc heredoc) string {
	body := doc.body
	if doc.tabs {
		list := strings.SplitAfter(body, "\n")
		for i := range list {
			list[i] = strings.TrimLeft(list[i], "\t")
		}
		body = strings.Join(list, "")
	}
	if !strings.HasPrefix(body, "#!") {
		return body
	}
	end := "END"
	for strings.Contains("\n"+body, "\n"+end+"\n") {
		end += "_"
	}
	return fmt.Sprintf("f=$(mktemp) && cat >\"$f\" <<'%s' && chmod 0700 \"$f\" && \"$f\"; s=$?; rm -f -- \"$f\"; exit $s\n%s%s\n", end, body, end)
}

// isOctal reports whether a text is a mode.
func isOctal(text string) bool {
	digits := strings.TrimLeft(text, "01234567")
	return digits == "" && (len(text) == 3 || len(text) == 4 || len(text) == 5 && text[0] == '0')
}

// isRemote reports whether a source is to be downloaded.
func isRemote(source string) bool {
	source = strings.ToLower(source)
	return strings.Contains(source, "://") || strings.HasPrefix(source, "git@")
}

// isArchive reports whether Docker's ADD would unpack a file, as far as its name says that.
func isArchive(source string) bool {
	source = strings.ToLower(source)
	for _, end := range []string{".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz", ".tar.zst"} {
		if strings.HasSuffix(source, end) {
			return true
		}
	}
	return false
}

// readCopy reads COPY and ADD. The owner is that of the step's user, as at E2B, unless --chown says another.
func (r *reader) readCopy(in instruction) error {
	owner, mode, err := r.copyFlags(in)
	if err != nil {
		return err
	}
	if len(in.docs) > 0 {
		return errorf(in.line, "%s of a document is not supported: use RUN with cat", in.name)
	}
	list := words(in.rest)
	if len(list) < 2 {
		return errorf(in.line, "%s needs a source and a destination", in.name)
	}
	sources, word := list[:len(list)-1], list[len(list)-1]
	destination, err := r.keep(in.line, word)
	if err != nil {
		return err
	}
	if destination == "" {
		return errorf(in.line, "%s has an empty destination", in.name)
	}
	if len(sources) > 1 && !strings.HasSuffix(destination, "/") && path.Base(destination) != "." {
		return errorf(in.line, "the destination of more than one source must end with a slash, got %.80q", destination)
	}
	var resolved []string
	for _, word := range sources {
		source, err := r.resolve(in.line, word, r.known)
		switch {
		case err != nil:
			return err
		case source == "":
			return errorf(in.line, "%s has an empty source", in.name)
		case isRemote(source):
			return errorf(in.line, "%s of a URL is not supported: download it in a RUN", in.name)
		case in.name == "ADD" && isArchive(source):
			return errorf(in.line, "ADD of an archive is not supported: copy it, and unpack it in a RUN")
		}
		resolved = append(resolved, source)
	}
	r.add(in, "COPY", resolved[0], destination, owner, mode).Sources = resolved
	return nil
}

func (r *reader) copyFlags(in instruction) (owner, mode string, err error) {
	for _, f := range in.flags {
		switch f.name {
		case "chown":
			if owner, err = r.resolve(in.line, f.value, r.known); err != nil {
				return "", "", err
			}
		case "chmod":
			if mode, err = r.resolve(in.line, f.value, r.known); err != nil {
				return "", "", err
			}
			if !isOctal(mode) {
				return "", "", errorf(in.line, "--chmod must be octal, such as 0755; got %.40q", mode)
			}
		case "link": // How it is stored.
		case "from":
			return "", "", errorf(in.line, "--from is not supported: a template has one stage")
		default:
			return "", "", errorf(in.line, "%s has the flag --%s, which is not supported", in.name, f.name)
		}
	}
	return owner, mode, nil
}
