package settings

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kind says how a value is written.
type kind uint8

const (
	group   kind = iota // a struct: a mapping of further settings
	list                // a slice: a sequence
	text                // string
	truth               // bool
	number              // the integers
	span                // time.Duration
	amount              // Size
	decimal             // Decimal
	secret              // Secret
)

// field is one setting, one group of them, or what the elements of a list are.
type field struct {
	kind
	key      string // its own name; "" for the root and for a list's elements
	path     string // its full name; elements have [] behind their list's
	index    int    // within the struct that has it
	typ      reflect.Type
	optional bool     // a pointer, nil if not given
	urlish   bool     // a secret that may be a literal if it has no password
	enum     []string // the values that it may have; nil if any
	help     string
	wanted   string   // instead of what the type would say
	children []*field // of a group
	elem     *field   // of a list
}

// newField describes a type. It panics if a configuration cannot hold it,
// which is a mistake in the program.
func newField(path string, typ reflect.Type) *field {
	f := &field{path: path, typ: typ}
	if typ.Kind() == reflect.Pointer {
		f.optional = true
		typ = typ.Elem()
	}
	switch {
	case typ == reflect.TypeFor[Secret]():
		f.kind = secret
	case typ == reflect.TypeFor[Size]():
		f.kind = amount
	case typ == reflect.TypeFor[Decimal]():
		f.kind = decimal
	case typ == reflect.TypeFor[time.Duration]():
		f.kind = span
	case typ.Kind() == reflect.String:
		f.kind = text
	case typ.Kind() == reflect.Bool:
		f.kind = truth
	case typ.Kind() >= reflect.Int && typ.Kind() <= reflect.Uint64:
		f.kind = number
	case typ.Kind() == reflect.Slice && !f.optional:
		f.kind = list
		f.elem = newField(path+"[]", typ.Elem())
	case typ.Kind() == reflect.Struct && !f.optional:
		f.kind = group
		f.children = newFields(path, typ)
	default:
		panic(fmt.Sprintf("settings: %s: a setting cannot be a %s", path, f.typ))
	}
	if f.kind == secret && (f.optional || strings.Contains(path, "[]")) {
		panic(fmt.Sprintf("settings: %s: a secret can be neither optional nor in a list", path))
	}
	return f
}

func newFields(path string, typ reflect.Type) []*field {
	var fields []*field
	for i := range typ.NumField() {
		sf := typ.Field(i)
		key := sf.Tag.Get("yaml")
		if key == "" {
			panic(fmt.Sprintf("settings: %s: field %s has no yaml tag", path, sf.Name))
		}
		f := newField(join(path, key), sf.Type)
		f.key, f.index, f.help, f.wanted = key, i, sf.Tag.Get("help"), sf.Tag.Get("want")
		f.urlish = sf.Tag.Get("secret") == "url"
		if enum := sf.Tag.Get("enum"); enum != "" {
			f.enum = strings.Split(enum, ",")
			if f.kind == list {
				f.elem.enum = f.enum
			}
		}
		fields = append(fields, f)
	}
	return fields
}

// join appends a name or an index to a path.
func join(path, name string) string {
	if path == "" || name == "" || name[0] == '[' {
		return path + name
	}
	return path + "." + name
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// parent returns the path without its last name or index.
func parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

const fileSuffix = "_file"

func flagName(path string) string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(path)
}

func envName(path string) string {
	return "TELLTALE_" + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// want says what can be written for the field.
func (f *field) want() string {
	if f.wanted != "" {
		return f.wanted
	}
	if f.enum != nil && f.kind != list {
		return oneOf(f.enum)
	}
	switch f.kind {
	case group:
		return "a mapping of settings"
	case list:
		return "a list"
	case truth:
		return "true or false"
	case number:
		if f.bits() < 64 {
			return "a whole number" + f.numberRange()
		}
		return "a whole number"
	case span:
		return "a duration with its unit, such as 500ms, 5s or 1h30m"
	case amount:
		return wantSize
	case decimal:
		return wantDecimal
	default:
		return "text"
	}
}

// target returns the value that a scalar is stored in.
func (f *field) target(v reflect.Value) reflect.Value {
	if !f.optional {
		return v
	}
	v.Set(reflect.New(f.typ.Elem()))
	return v.Elem()
}

func (f *field) bits() int {
	if f.optional {
		return f.typ.Elem().Bits()
	}
	return f.typ.Bits()
}

func (f *field) numberRange() string {
	t := f.typ
	if f.optional {
		t = t.Elem()
	}
	if t.Kind() >= reflect.Uint {
		return fmt.Sprintf(" from 0 to %d", uint64(1)<<t.Bits()-1)
	}
	top := int64(1) << (t.Bits() - 1)
	return fmt.Sprintf(" from %d to %d", -top, top-1)
}

func oneOf(values []string) string {
	values = slices.Clone(values)
	for i := range values {
		values[i] = cmp.Or(values[i], `""`)
	}
	last := len(values) - 1
	if last == 0 {
		return values[0]
	}
	return strings.Join(values[:last], ", ") + " or " + values[last]
}
