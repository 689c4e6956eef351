package guard

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
)

const parityDoc = "docs/reference-parity.md"

// parityRows are the rows that the document must have: how many there are of
// each section. A row that is gone is a promise that is gone.
func parityRows() []string {
	var ids []string
	for _, section := range []struct {
		name string
		rows int
	}{
		{"A1", 14}, {"A2", 3},
		{"B0", 2}, {"B1", 5}, {"B2", 3}, {"B3", 5}, {"B4", 5}, {"B5", 3}, {"B6", 9}, {"B7", 2}, {"B8", 5},
		{"B9", 4}, {"B10", 3}, {"B11", 5}, {"B12", 4}, {"B14", 11}, {"B15", 8},
	} {
		for i := range section.rows {
			ids = append(ids, fmt.Sprintf("%s.%d", section.name, i+1))
		}
	}
	for i := range 14 {
		ids = append(ids, fmt.Sprintf("C%d", i+1))
	}
	for i := range 18 {
		ids = append(ids, fmt.Sprintf("D%d", i+1))
	}
	return append(ids, "D17b")
}

func TestNamedCanFail(t *testing.T) {
	sources := parse(t, map[string]string{
		"vm/a_test.go":   "package vm\nfunc TestThere(t *testing.T) {}\nfunc (x) TestMethod() {}",
		"vm/a.go":        "package vm\nfunc TestNot() {}\nfunc (x) M() { inside := 1 }\ntype T struct{ F int }\nconst C = 1",
		"vm/vmtest/a.go": "package vmtest\nvar r, s = \"stop/is-a-rule\", \"-made-of\"",
	})
	root := fstest.MapFS{"vm/a.go": {}, "vm/vmtest/a.go": {}}
	const table = "| hazard | shown by |\n|---|---|\n"
	for doc, want := range map[string]int{
		"TestThere in `vm/a.go`, TestGone, TestMethod, TestNot, `vm/gone.go`":                   4,
		"`vm/a.go#M` `vm/a.go#T` `vm/a.go#F` `vm/a.go#C`":                                       0,
		"`vm/a.go#inside` `vm/a.go#Gone` `vm/gone.go#M`":                                        3,
		"`vm/vmtest`, `stop/is-a-rule`, `stop/x-made-of`, `/dev/null`, `a.b()` and `stop/none`": 1,
		table + "| a | TestThere |\n| b | nothing |\n\n| c | nothing |":                         1,
		table + "| a | TestThere |\n| b | `stop/is-a-rule` |":                                   0,
		"Tests and Testing": 0,
	} {
		if got := Named("docs/x.md", []byte(doc), sources, root); len(got) != want {
			t.Errorf("%q: got %v, want %d", doc, got, want)
		}
	}
}

func TestRowsCanFail(t *testing.T) {
	ids := []string{"B1.1", "B1.2", "D17b"}
	const whole = "| row | what |\n|---|---|\n| B1.1 | x |\n| B1.2 | x |\n| D17b | x |\n"
	for doc, want := range map[string]int{
		whole: 0,
		strings.Replace(whole, "| B1.2 |", "| B12 |", 1):  2,
		strings.Replace(whole, "| B1.2 |", "| B1.1 |", 1): 2,
		whole + "| C1 | of no list |\n":                   1,
		whole + "in a text: | C1 |":                       0,
	} {
		if got := Rows("docs/x.md", []byte(doc), ids); len(got) != want {
			t.Errorf("%q: got %v, want %d", doc, got, want)
		}
	}
}
