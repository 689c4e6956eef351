package wire

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// The parameters of the API are those that the generated code reads.
func TestListParametersAreThoseOfTheProtocol(t *testing.T) {
	code, err := os.ReadFile("../../../api/gen/openapi/openapi.gen.go")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`BindQueryParameterWithOptions\("form", \w+, \w+, "(\w+)".*Type: "(\w+)"`).FindAllStringSubmatch(string(code), -1)
	if len(found) < 10 {
		t.Fatalf("%d parameters", len(found))
	}
	for _, p := range found {
		if (p[2] == "array") != slices.Contains(listParameters, p[1]) {
			t.Errorf("%s is of type %s", p[1], p[2])
		}
	}
}
