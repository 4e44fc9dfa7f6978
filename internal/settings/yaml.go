package settings

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds on a document, far above any real one. The parser's time grows with
// the square of an unclosed bracket's content and of the depth; aliases of
// aliases would multiply without end.
const (
	maxDocument = 256 << 10
	maxNodes    = 1 << 18
)

// decoder carries one parsed text into a value.
type decoder struct {
	s       *Settings
	from    origin // of the whole
	aliases map[*ast.AliasNode]ast.Node
	nodes   int
}

// decode carries data into v, which is what f describes and path names.
func (s *Settings) decode(from origin, data []byte, f *field, path string, v reflect.Value) {
	d := &decoder{s: s, from: from}
	body, ok := d.parse(data, path)
	if !ok {
		s.refused[path] = true
		return
	}
	if body == nil {
		s.origins[path] = d.origin(nil, "")
		return
	}
	d.aliases = resolve(body)
	d.value(f, path, body, start(body), v)
	if d.nodes > maxNodes {
		s.refused[path] = true
	}
}

// parse returns the body of the only document in data, nil if it is empty.
func (d *decoder) parse(data []byte, path string) (body ast.Node, ok bool) {
	if len(data) > maxDocument {
		d.report(nil, path, "", "at most 256KiB of YAML")
		return nil, false
	}
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var at interface {
			GetToken() *token.Token
			GetMessage() string
		}
		if errors.As(err, &at) {
			d.report(at.GetToken(), path, "", "YAML: "+at.GetMessage())
		} else {
			d.report(nil, path, "", "YAML: "+err.Error())
		}
		return nil, false
	}
	for _, doc := range file.Docs {
		if empty(doc.Body) {
			continue
		}
		if body != nil {
			at := doc.Start
			if at == nil {
				at = doc.Body.GetToken()
			}
			d.report(at, path, "", "one YAML document, not several")
			return nil, false
		}
		body = doc.Body
	}
	return body, true
}

// empty reports whether a document says nothing; a directive is to the parser a
// document of its own.
func empty(body ast.Node) bool {
	if body == nil {
		return true
	}
	switch body.Type() {
	case ast.CommentType, ast.CommentGroupType, ast.DirectiveType:
		return true
	default:
		return false
	}
}

// resolve finds what each alias stands for: the last anchor of its name before
// it.
func resolve(body ast.Node) map[*ast.AliasNode]ast.Node {
	r := &resolver{map[string]ast.Node{}, map[*ast.AliasNode]ast.Node{}}
	ast.Walk(r, body)
	return r.aliases
}

type resolver struct {
	anchors map[string]ast.Node
	aliases map[*ast.AliasNode]ast.Node
}

// Visit is called by ast.Walk in the document's order.
func (r *resolver) Visit(n ast.Node) ast.Visitor {
	switch n := n.(type) {
	case *ast.AnchorNode:
		r.anchors[n.Name.GetToken().Value] = n.Value
	case *ast.AliasNode:
		r.aliases[n] = r.anchors[n.Value.GetToken().Value]
	}
	return r
}

// plain returns the node behind anchors and aliases; nil if there is none.
func (d *decoder) plain(n ast.Node) ast.Node {
	for range 100 {
		switch x := n.(type) {
		case *ast.AnchorNode:
			n = x.Value
		case *ast.AliasNode:
			n = d.aliases[x]
		default:
			return n
		}
	}
	return nil
}

// value carries a node into v. at is where a message about the whole of it
// points to: its key, or its first character.
func (d *decoder) value(f *field, path string, n ast.Node, at *token.Token, v reflect.Value) {
	if d.nodes++; d.nodes > maxNodes {
		if d.nodes == maxNodes+1 {
			d.report(at, path, "", fmt.Sprintf("at most %d values", maxNodes))
		}
		return
	}
	written := n.GetToken()
	n = d.plain(n)
	if n == nil {
		d.refuse(written, path, "", "an alias of an anchor above it")
		return
	}
	switch n := n.(type) {
	case *ast.TagNode:
		d.refuse(written, path, n.Start.Value, "a value without a tag")
	case *ast.MappingNode:
		d.mapping(f, path, n, at, v)
	case *ast.SequenceNode:
		d.sequence(f, path, n, at, v)
	case *ast.NullNode:
		// A group or a list all of whose content is commented out.
		if f.kind != group && f.kind != list {
			d.refuse(written, path, "null", f.want())
			return
		}
		d.s.origins[path] = d.origin(at, "")
	default:
		d.scalar(f, path, n, written, v)
	}
}

func (d *decoder) scalar(f *field, path string, n ast.Node, at *token.Token, v reflect.Value) {
	var text, want string
	switch n := n.(type) {
	case *ast.StringNode:
		text, want = n.Value, f.setString(v, n.Value)
		if f.kind == truth && n.Value != "on" && n.Value != "off" {
			want = f.want()
		}
	case *ast.LiteralNode:
		text, want = n.Value.Value, f.setString(v, n.Value.Value)
	case *ast.IntegerNode:
		text = n.Token.Value
		if f.kind == decimal {
			want = f.setString(v, text)
		} else {
			want = f.setNumber(v, n.Value)
		}
	case *ast.FloatNode:
		text = n.Token.Value
		if f.kind == decimal {
			want = f.setString(v, text)
		} else {
			want = f.setNumber(v, nil)
		}
	case *ast.BoolNode:
		text = n.Token.Value
		if f.kind == truth {
			f.target(v).SetBool(n.Value)
		} else {
			want = f.setNumber(v, nil)
		}
	default:
		text, want = n.GetToken().Value, f.setNumber(v, nil)
	}
	if want != "" {
		if text == "" {
			text = `""`
		}
		d.refuse(at, path, text, want)
		return
	}
	d.s.origins[path] = d.origin(at, text)
}

func (d *decoder) sequence(f *field, path string, n *ast.SequenceNode, at *token.Token, v reflect.Value) {
	if f.kind != list {
		d.refuse(at, path, "", f.want()+", not a list")
		return
	}
	d.s.origins[path] = d.origin(at, "")
	elements := reflect.MakeSlice(f.typ, len(n.Values), len(n.Values))
	for i, element := range n.Values {
		if defaulter, ok := elements.Index(i).Addr().Interface().(Defaulter); ok {
			defaulter.SetDefaults()
		}
		d.value(f.elem, index(path, i), element, start(element), elements.Index(i))
	}
	v.Set(elements)
}

// start returns the first token of a node: of a mapping in block style the
// first key, where its own token is the colon.
func start(n ast.Node) *token.Token {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return m.Values[0].Key.GetToken()
	}
	return n.GetToken()
}

func (d *decoder) mapping(f *field, path string, n *ast.MappingNode, at *token.Token, v reflect.Value) {
	if f.kind != group {
		d.refuse(at, path, "", f.want()+", not a mapping")
		return
	}
	d.s.origins[path] = d.origin(at, "")
	given := map[string]*token.Token{}
	d.entries(f, path, n, v, given, map[*ast.MappingNode]bool{})
}

// entries carries the entries of a mapping, then those of the mappings that are
// merged into it by <<, into a struct. given holds the keys so far.
func (d *decoder) entries(f *field, path string, n *ast.MappingNode, v reflect.Value, given map[string]*token.Token, merged map[*ast.MappingNode]bool) {
	if merged[n] {
		return
	}
	merged[n] = true
	own := map[string]*token.Token{}
	var merges []ast.Node
	for _, entry := range n.Values {
		if entry.Key.Type() == ast.MergeKeyType {
			merges = append(merges, entry.Value)
			continue
		}
		at := entry.Key.GetToken()
		key := at.Value
		if first := own[key]; first != nil {
			d.report(at, join(path, key), "", fmt.Sprintf("each setting once; it is also at line %d", first.Position.Line))
			continue
		}
		own[key] = at
		if given[key] == nil {
			given[key] = at
			d.entry(f, path, key, entry, v)
		}
	}
	for _, m := range merges {
		d.merge(f, path, m, v, given, merged)
	}
}

func (d *decoder) merge(f *field, path string, n ast.Node, v reflect.Value, given map[string]*token.Token, merged map[*ast.MappingNode]bool) {
	switch m := d.plain(n).(type) {
	case *ast.MappingNode:
		d.entries(f, path, m, v, given, merged)
	case *ast.SequenceNode:
		for _, element := range m.Values {
			if e, ok := d.plain(element).(*ast.MappingNode); ok {
				d.entries(f, path, e, v, given, merged)
			} else {
				d.report(element.GetToken(), join(path, "<<"), "", "a mapping to merge")
			}
		}
	default:
		d.report(n.GetToken(), join(path, "<<"), "", "a mapping to merge")
	}
}

func (d *decoder) entry(f *field, path, key string, entry *ast.MappingValueNode, v reflect.Value) {
	at := entry.Key.GetToken()
	child, ofFile := f.child(key)
	path = join(path, key)
	switch {
	case child == nil:
		d.report(at, path, "", d.s.known(f, key))
	case child.kind != secret:
		d.value(child, path, entry.Value, at, v.Field(child.index))
	case !ofFile && !child.urlish:
		d.report(at, path, "", child.placeForSecret())
	default:
		var value string
		d.value(&field{kind: text, typ: reflect.TypeFor[string]()}, path, entry.Value, at, reflect.ValueOf(&value).Elem())
		if o, ok := d.s.origins[path]; ok && value != "" {
			d.s.setSecret(child, given{file: ofFile, value: value, origin: o})
		}
	}
}

// child returns the setting of that name in a group. ofFile says that the name
// is that of a secret's file.
func (f *field) child(key string) (child *field, ofFile bool) {
	for _, c := range f.children {
		if c.key == key {
			return c, false
		}
		if c.kind == secret && c.key+fileSuffix == key {
			return c, true
		}
	}
	return nil, false
}

func (d *decoder) origin(at *token.Token, text string) origin {
	o := d.from
	o.text = text
	if o.level == fromFile {
		o.line, o.column = 1, 1
		if at != nil {
			o.line, o.column = at.Position.Line, at.Position.Column
		}
	}
	return o
}

// report adds a problem with the document at a token (nil: its beginning).
func (d *decoder) report(at *token.Token, path, value, want string) {
	d.s.report(d.origin(at, value), path, value, want)
}

// refuse reports a value, and keeps validation from judging what is there in
// its place.
func (d *decoder) refuse(at *token.Token, path, value, want string) {
	d.report(at, path, value, want)
	d.s.refused[path] = true
}
