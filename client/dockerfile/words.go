package dockerfile

import (
	"encoding/json"
	"fmt"
	"strings"
)

// fields splits a text at blanks that are neither quoted nor escaped. Quotes and escapes stay.
func fields(text string, escape byte) (out []string) {
	var word strings.Builder
	quote, in := byte(0), false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote == 0 && (c == ' ' || c == '\t'):
			if in {
				out = append(out, word.String())
				word.Reset()
			}
			in = false
			continue
		case c == escape && quote != '\'' && i+1 < len(text):
			word.WriteByte(c)
			i++
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		}
		in = true
		word.WriteByte(text[i])
	}
	if in {
		out = append(out, word.String())
	}
	return out
}

// words are the arguments of an instruction that is a list in JSON or words between blanks.
func words(text string) []string {
	if list, ok := jsonList(text); ok {
		return list
	}
	return strings.Fields(text)
}

// jsonList reads an instruction's list in JSON.
func jsonList(text string) (list []string, ok bool) {
	if !strings.HasPrefix(text, "[") || json.Unmarshal([]byte(text), &list) != nil {
		return nil, false
	}
	return list, true
}

// expander removes the quotes of a word, and gives each variable to a function.
type expander struct {
	escape byte
	// dollar is how a "$" that begins no variable is written.
	dollar string
	// variable gets what stands between the braces of ${...}, or the name.
	variable func(expression string) (string, error)
	// strict refuses a backslash before a variable, which the server takes for an escape.
	strict bool
}

func (e expander) expand(word string) (string, error) {
	var out strings.Builder
	quote := byte(0)
	for i := 0; i < len(word); i++ {
		c := word[i]
		switch {
		case quote == '\'':
			if c == '\'' {
				quote = 0
			} else {
				e.literal(&out, c)
			}
		case c == e.escape && i+1 < len(word) && (quote == 0 || strings.IndexByte(`"$`+string(e.escape), word[i+1]) >= 0):
			i++
			e.literal(&out, word[i])
		case quote == '"' && c == '"':
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case c == '$':
			expression, size, err := variable(word[i:])
			if err != nil {
				return "", err
			}
			if size == 0 {
				e.literal(&out, c)
				continue
			}
			if e.strict && strings.HasSuffix(out.String(), `\`) {
				return "", fmt.Errorf("a backslash stands before the variable %.60q", word[i:i+size])
			}
			value, err := e.variable(expression)
			if err != nil {
				return "", err
			}
			out.WriteString(value)
			i += size - 1
		default:
			out.WriteByte(c)
		}
	}
	if quote != 0 {
		return "", fmt.Errorf("a quote %c is not closed in %.80q", quote, word)
	}
	return out.String(), nil
}

func (e expander) literal(out *strings.Builder, c byte) {
	if c == '$' {
		out.WriteString(e.dollar)
		return
	}
	out.WriteByte(c)
}

// variable reads the variable at the beginning of a text. size is 0 if there is none.
func variable(text string) (expression string, size int, err error) {
	if strings.HasPrefix(text, "${") {
		depth := 0
		for i := 1; i < len(text); i++ {
			switch text[i] {
			case '{':
				depth++
			case '}':
				depth--
			}
			if depth == 0 {
				expression = text[2:i]
				if nameLength(expression) == 0 {
					return "", 0, fmt.Errorf("%.60q is not a variable", text[:i+1])
				}
				return expression, i + 1, nil
			}
		}
		return "", 0, fmt.Errorf("a brace is not closed in %.80q", text)
	}
	n := nameLength(text[1:])
	return text[1 : 1+n], min(n, 1) * (n + 1), nil
}

// nameLength is how much of a text is the name of a variable.
func nameLength(text string) (n int) {
	for n < len(text) {
		c := text[n] | 0x20
		if text[n] != '_' && (c < 'a' || c > 'z') && (n == 0 || text[n] < '0' || text[n] > '9') {
			break
		}
		n++
	}
	return n
}

// isName reports whether a text can name a variable.
func isName(text string) bool { return text != "" && nameLength(text) == len(text) }

// evaluate is what an expression in ${...} is with these variables.
func evaluate(expression string, known map[string]string, e expander) (string, error) {
	n := nameLength(expression)
	name, op := expression[:n], expression[n:]
	value, set := known[name]
	if op == "" {
		if !set {
			return "", fmt.Errorf("the variable %.60s is not set by an ARG or ENV before", name)
		}
		return value, nil
	}
	empty := strings.HasPrefix(op, ":")
	op = strings.TrimPrefix(op, ":")
	given := set && (!empty || value != "")
	switch {
	case strings.HasPrefix(op, "-") && given:
		return value, nil
	case strings.HasPrefix(op, "-"), strings.HasPrefix(op, "+") && given:
		return e.expand(op[1:])
	case strings.HasPrefix(op, "+"):
		return "", nil
	}
	return "", fmt.Errorf("the form ${%.60s} is not supported here", expression)
}

// quoted is a word for a POSIX shell.
func quoted(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(plain, r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./:@%+,-"

func shellWords(list []string) string {
	out := make([]string, len(list))
	for i, w := range list {
		out[i] = quoted(w)
	}
	return strings.Join(out, " ")
}
