package client

import (
	"reflect"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/api/gen/openapi"
)

// TestAnswersAreThoseOfTheAPI compares the structs that answers are read into,
// with the generated ones.
func TestAnswersAreThoseOfTheAPI(t *testing.T) {
	for _, c := range []struct {
		ours, wire any
	}{
		{Sandbox{}, openapi.SandboxDetail{}},
		{Error{}, openapi.Error{}},
		{ForkResult{}, openapi.SandboxForkResult{}},
		{Snapshot{}, openapi.Snapshot{}},
		{Continuation{}, openapi.Continuation{}},
		{FollowUp{}, openapi.FollowUp{}},
		{Template{}, openapi.Template{}},
		{TemplateBuild{}, openapi.TemplateBuild{}},
		{TemplateTag{}, openapi.TemplateTag{}},
		{BuildRef{}, openapi.RequestedTemplateBuild{}},
		{BuildStatus{}, openapi.TemplateBuildInfo{}},
		{BuildLog{}, openapi.BuildLogEntry{}},
		{BuildError{}, openapi.BuildStatusReason{}},
	} {
		wire := fields(c.wire)
		for name, typ := range fields(c.ours) {
			if wire[name] == nil || kind(wire[name]) != kind(typ) {
				t.Errorf("%T: %q is %v, the API has %v", c.ours, name, typ, wire[name])
			}
		}
	}
}

// fields are the types of the fields of a struct by their names in JSON.
func fields(v any) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for f := range reflect.TypeOf(v).Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "-" {
			out[name] = f.Type
		}
	}
	return out
}

// kind is what a type is in JSON, as far as it matters here.
func kind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return kind(t.Elem())
	case reflect.Int, reflect.Int32, reflect.Int64:
		return "integer"
	default:
		return t.Kind().String()
	}
}
