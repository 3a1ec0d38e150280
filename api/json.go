package api

import (
	"encoding/json"
	"reflect"
)

// marshal is json.Marshal with [] or "" in place of null for slices that are nil, so that programs can iterate over
// every list. It works on a copy as deep as it changes.
func marshal(v any) ([]byte, error) {
	rv := reflect.ValueOf(v)
	if !rv.IsValid() {
		return json.Marshal(v)
	}
	return json.Marshal(withoutNil(rv).Interface())
}

func withoutNil(v reflect.Value) reflect.Value {
	switch v.Kind() {
	case reflect.Slice:
		out := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(out, v)
		if k := v.Type().Elem().Kind(); k == reflect.Struct {
			for i := range out.Len() {
				out.Index(i).Set(withoutNil(out.Index(i)))
			}
		}
		return out
	case reflect.Struct:
		out := reflect.New(v.Type()).Elem()
		out.Set(v)
		for i := range out.NumField() {
			f := out.Field(i)
			if k := f.Kind(); f.CanSet() && (k == reflect.Slice || k == reflect.Struct) {
				f.Set(withoutNil(f))
			}
		}
		return out
	}
	return v
}
