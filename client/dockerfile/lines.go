package dockerfile

import (
	"slices"
	"strings"
)

// instruction is one of a Dockerfile.
type instruction struct {
	line  int    // Its first line, from 1.
	name  string // In capitals.
	flags []flag
	rest  string // What follows the flags, with continued lines joined.
	docs  []heredoc
}

type flag struct{ name, value string }

// heredoc is a document in an instruction.
type heredoc struct {
	token string // As the instruction has it, such as <<-"EOF".
	name  string
	tabs  bool   // Tabs at the beginning of lines do not count.
	body  string // With the ends of lines.
	end   string // The line that ends it, as it is written.
}

// text is the instruction in one line, for people.
func (in instruction) text() string {
	words := []string{in.name}
	for _, f := range in.flags {
		words = append(words, "--"+f.name+"="+f.value)
	}
	return strings.Join(append(words, strings.Fields(in.rest)...), " ")
}

// parse splits a Dockerfile into its instructions, and returns the escape character.
func parse(text string) (list []instruction, escape byte, err error) {
	if len(text) > maxSize {
		return nil, 0, errorf(0, "the Dockerfile has more than %d bytes", maxSize)
	}
	if i := strings.IndexByte(text, 0); i >= 0 {
		return nil, 0, errorf(strings.Count(text[:i], "\n")+1, "there is a zero byte")
	}
	text = strings.TrimPrefix(strings.ReplaceAll(text, "\r\n", "\n"), "\ufeff")
	lines := strings.Split(text, "\n")
	if escape, err = directives(lines); err != nil {
		return nil, 0, err
	}
	for i := 0; i < len(lines); {
		if blank(lines[i]) {
			i++
			continue
		}
		first := i
		var logical strings.Builder
		for more := true; more && i < len(lines); i++ {
			if i > first && blank(lines[i]) {
				continue // Comments and empty lines do not end an instruction.
			}
			part, goesOn := continued(lines[i], escape)
			logical.WriteString(part)
			more = goesOn
		}
		in, err := read(first+1, strings.TrimSpace(logical.String()))
		if err != nil {
			return nil, 0, err
		}
		if in.name == "RUN" || in.name == "COPY" || in.name == "ADD" {
			if i, err = in.documents(lines, i, escape); err != nil {
				return nil, 0, err
			}
		}
		list = append(list, in)
	}
	return list, escape, nil
}

// directives reads the comments at the beginning that are for the parser.
func directives(lines []string) (escape byte, err error) {
	escape = '\\'
	for i, line := range lines {
		comment, isComment := strings.CutPrefix(strings.TrimSpace(line), "#")
		name, value, isDirective := strings.Cut(comment, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !isComment || !isDirective || !isName(name) || value == "" {
			break
		}
		if strings.EqualFold(name, "escape") {
			if value != `\` && value != "`" {
				return 0, errorf(i+1, "the escape character must be \\ or `, got %.20q", value)
			}
			escape = value[0]
		}
	}
	return escape, nil
}

func blank(line string) bool {
	line = strings.TrimSpace(line)
	return line == "" || line[0] == '#'
}

// continued returns a line without the escape character at its end, and whether there was one.
func continued(line string, escape byte) (string, bool) {
	bare := strings.TrimRight(line, " \t")
	n := len(bare)
	if n == 0 || bare[n-1] != escape || n > 1 && bare[n-2] == escape {
		return line, false
	}
	return bare[:n-1], true
}

// read splits an instruction into its name, its flags and the rest.
func read(line int, text string) (instruction, error) {
	name, _, _ := strings.Cut(strings.ReplaceAll(text, "\t", " "), " ")
	in := instruction{line: line, name: strings.ToUpper(name), rest: strings.TrimSpace(text[len(name):])}
	if strings.ContainsFunc(name, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') }) {
		return in, errorf(line, "%.40q is not an instruction", name)
	}
	for slices.Contains(flagged, in.name) {
		bare, ok := strings.CutPrefix(in.rest, "--")
		if !ok {
			break
		}
		word := bare
		if end := strings.IndexAny(bare, " \t"); end >= 0 {
			word = bare[:end]
		}
		name, value, _ := strings.Cut(word, "=")
		in.flags = append(in.flags, flag{name, value})
		in.rest = strings.TrimSpace(bare[len(word):])
	}
	if in.rest == "" {
		return in, errorf(line, "%s needs an argument", in.name)
	}
	return in, nil
}

// flagged are the instructions that can have flags.
var flagged = []string{"FROM", "RUN", "COPY", "ADD"}

// documents reads the documents of an instruction from the lines behind it, and returns the line that follows them.
func (in *instruction) documents(lines []string, next int, escape byte) (int, error) {
	in.docs = heredocs(in.rest, escape)
	for i := range in.docs {
		doc := &in.docs[i]
		var body strings.Builder
		for {
			if next >= len(lines) {
				return 0, errorf(in.line, "the document %s must end with the line %q", doc.token, doc.name)
			}
			line := lines[next]
			next++
			if bare := line; bare == doc.name || doc.tabs && strings.TrimLeft(bare, "\t") == doc.name {
				doc.end = line
				break
			}
			body.WriteString(line + "\n")
		}
		doc.body = body.String()
	}
	return next, nil
}

// heredocs finds the documents that a line announces, outside of quotes.
func heredocs(text string, escape byte) (docs []heredoc) {
	quote := byte(0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == escape && quote != '\'':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '<':
			doc := document(text[i:])
			before := strings.TrimRight(text[:i], "0123456789")
			if doc.name == "" || before != "" && !strings.ContainsRune(" \t;&|(", rune(before[len(before)-1])) {
				for i+1 < len(text) && text[i+1] == '<' {
					i++
				}
				continue
			}
			docs = append(docs, doc)
			i += len(doc.token) - 1
		}
	}
	return docs
}

// document reads the token at the beginning of a text that announces a document, as <<EOF, <<-EOF or <<"EOF". Its name is empty if there is none.
func document(text string) (doc heredoc) {
	rest, ok := strings.CutPrefix(text, "<<")
	if !ok {
		return doc
	}
	rest, tabs := strings.CutPrefix(rest, "-")
	quote := ""
	if strings.HasPrefix(rest, `"`) || strings.HasPrefix(rest, "'") {
		quote, rest = rest[:1], rest[1:]
	}
	n := nameLength(rest)
	if n == 0 || !strings.HasPrefix(rest[n:], quote) {
		return doc
	}
	return heredoc{token: text[:len(text)-len(rest)+n+len(quote)], name: rest[:n], tabs: tabs}
}
