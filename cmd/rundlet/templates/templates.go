// Package templates has the commands of templates: build, list, show, tag and remove them on a running daemon, on this host or
// another; and push and pull those in the state directory of this host.
//
// It may import client and the packages below it, sandbox, node/move and cmd/rundlet/command; only cmd/rundlet imports it.
package templates

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
)

// Template is the command "template".
func Template(o *command.Options) *cobra.Command {
	cmd := &cobra.Command{Use: "template", Aliases: []string{"tpl"}, Short: "Build, manage, push and pull templates"}
	cmd.AddCommand(newBuild(o), newLs(o), newInspect(o), newHistory(o), newLogs(o), newTag(o), newRm(o))
	cmd.AddCommand(moves(o)...)
	return cmd
}

// printable is text of a build without what could change a terminal: a program of a template wrote it.
func printable(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); {
		if text[i] == '\x1b' {
			i += sequence(text[i:])
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		i += size
		switch {
		case r == '\t':
			out.WriteByte(' ')
		case r == '\n' || unicode.IsPrint(r):
			out.WriteRune(r)
		}
	}
	return out.String()
}

// sequence is the length of the escape sequence at the beginning of a text.
func sequence(text string) int {
	if len(text) < 2 || text[1] != '[' && text[1] != ']' {
		return min(2, len(text))
	}
	for i := 2; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\a', text[1] == '[' && c >= '@' && c <= '~':
			return i + 1
		case c < ' ':
			return i
		}
	}
	return len(text)
}

// oneLine is printable text in one line.
func oneLine(text string) string { return strings.ReplaceAll(printable(text), "\n", " ") }
