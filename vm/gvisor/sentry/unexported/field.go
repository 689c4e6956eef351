//go:build linux

// Package unexported reads and changes fields that gVisor does not export. Each use has
// a test that fails with a gVisor in which the field has another name or type.
//
// It may import the standard library; the packages of the sandbox process import it.
package unexported

import (
	"fmt"
	"reflect"
	"unsafe"
)

// Field returns a field of the struct that pointer points to, for
// writing, whatever its name.
func Field(pointer any, name string) (reflect.Value, error) {
	v := reflect.ValueOf(pointer)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return reflect.Value{}, fmt.Errorf("%T has no field %s", pointer, name)
	}
	field := v.Elem().FieldByName(name)
	if !field.IsValid() {
		return reflect.Value{}, fmt.Errorf("%T has no field %s", pointer, name)
	}
	return reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem(), nil
}
