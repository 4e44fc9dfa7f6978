package settings

import (
	"reflect"
	"slices"
	"strings"
)

// Setting documents one setting.
type Setting struct {
	Path    string   // its name in the file; an element of a list has [] behind the list's
	Flag    string   // without the dashes; "" if there is none
	Env     string   // "" if there is none
	Type    string   // text, bool, number, decimal, duration, size, list, url, file or secret
	Default string   // as a flag takes it; "" for elements of lists that have none
	Values  []string // those that it may have; nil if any
	Help    string

	field   *field
	indices []int // of the fields that lead to it
}

var typeNames = [...]string{list: "list", text: "text", truth: "bool", number: "number", span: "duration", amount: "size", decimal: "decimal", secret: "secret"}

// Document returns every setting, in the order of the struct. Lists are
// followed by the settings of their elements, which have neither flag nor
// variable. A secret is followed by the setting that names its file.
func (s *Settings) Document() []Setting {
	return slices.Clone(s.all)
}

func document(all []Setting, f *field, defaults reflect.Value, indices []int) []Setting {
	if f.kind == group {
		for _, c := range f.children {
			all = document(all, c, defaults.Field(c.index), append(slices.Clone(indices), c.index))
		}
		return all
	}
	d := Setting{Path: f.path, Type: typeNames[f.kind], Values: f.enum, Help: f.help, field: f, indices: indices}
	inList := strings.Contains(f.path, "[]")
	if f.kind != list || !inList {
		d.Default = f.format(defaults)
	}
	if !inList {
		d.Flag, d.Env = flagName(f.path), envName(f.path)
	}
	if f.kind == secret {
		file := d
		file.Path, file.Flag, file.Env = d.Path+fileSuffix, d.Flag+"-file", d.Env+"_FILE"
		file.Type, file.Default, file.Help = "file", "", "file that holds the "+f.help
		if f.urlish {
			d.Type = "url"
		} else {
			d.Flag = ""
		}
		return append(all, d, file)
	}
	all = append(all, d)
	if f.kind == list && f.elem.kind == group {
		element := reflect.New(f.elem.typ)
		if defaulter, ok := element.Interface().(Defaulter); ok {
			defaulter.SetDefaults()
		}
		return document(all, f.elem, element.Elem(), nil)
	}
	return all
}

// find returns the field at a path with indices, nil if there is none.
func (s *Settings) find(path string) *field {
	f := s.root
	for _, name := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' }) {
		if strings.HasSuffix(name, "]") {
			f = f.elem
		} else {
			f, _ = f.child(name)
		}
		if f == nil {
			return nil
		}
	}
	return f
}

func (s *Settings) scalar(path string) bool {
	f := s.find(path)
	return f != nil && f.kind != group && f.kind != list
}

func (s *Settings) isSecret(path string) bool {
	f := s.find(path)
	return f != nil && f.kind == secret && !strings.HasSuffix(path, fileSuffix)
}

// known says which settings a group has, or which one was meant by an unknown
// key: the nearest of the group, or the one of that name elsewhere.
func (s *Settings) known(f *field, key string) string {
	var names []string
	for _, c := range f.children {
		if c.kind != secret || c.urlish {
			names = append(names, c.key)
		}
		if c.kind == secret {
			names = append(names, c.key+fileSuffix)
		}
	}
	nearest, least := "", max(1, (len(key)+1)/3)+1
	for _, name := range names {
		if n := distance(key, name); n < least {
			nearest, least = name, n
		}
	}
	if nearest != "" {
		return "a setting that exists, perhaps " + nearest
	}
	for _, d := range s.all {
		if d.Type != typeNames[secret] && strings.HasSuffix(d.Path, "."+key) {
			return "a setting that exists, perhaps " + d.Path
		}
	}
	return "a setting that exists: " + oneOf(names)
}

// distance is Levenshtein's: how many bytes must be inserted, deleted or
// replaced to make b of a.
func distance(a, b string) int {
	a = a[:min(len(a), longestValue)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
