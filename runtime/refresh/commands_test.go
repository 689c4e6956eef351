package refresh

import (
	"errors"
	"strings"
	"testing"

	"connectrpc.com/connect"
)

func TestAReasonQuotesTheLastLineThatSaysSomething(t *testing.T) {
	for output, want := range map[string]string{
		"":                              "",
		"one\ntwo\n":                    "two",
		"fatal: x\r\n\x1b\x07\n \n":     "fatal: x",
		"a\xff\x1b[31mb":                "a[31mb",
		strings.Repeat("é", maxTail):    strings.Repeat("é", maxLine/2),
		strings.Repeat("\n", 2*maxTail): "",
	} {
		var out tail
		for _, part := range strings.SplitAfter(output, "\n") {
			_, _ = out.Write([]byte(part))
		}
		if got := out.line(); got != want || len(out) > maxTail {
			t.Errorf("%.40q: %q of %d bytes, want %q", output, got, len(out), want)
		}
	}
}

func TestAnAgentThatRefusesIsNotAskedAgain(t *testing.T) {
	for code, want := range map[connect.Code]bool{
		connect.CodeUnauthenticated: true, connect.CodeInvalidArgument: true, connect.CodeNotFound: true,
		connect.CodeUnavailable: false, connect.CodeCanceled: false, connect.CodeUnknown: false,
	} {
		if got := refused(connect.NewError(code, errors.New("x"))); got != want {
			t.Errorf("%v: %v", code, got)
		}
	}
}
