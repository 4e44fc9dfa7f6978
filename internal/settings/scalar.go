package settings

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// setText stores what a flag or a variable says in a scalar setting. It
// returns what was expected, or "".
func (f *field) setText(v reflect.Value, s string) (want string) {
	switch f.kind {
	case truth:
		b, ok := parseTruth(s)
		if !ok {
			return f.want()
		}
		f.target(v).SetBool(b)
	case number:
		s = strings.TrimSpace(s)
		if u, err := strconv.ParseUint(s, 0, 64); err == nil {
			return f.setNumber(v, u)
		}
		i, err := strconv.ParseInt(s, 0, 64)
		if err != nil {
			return f.want()
		}
		return f.setNumber(v, i)
	default:
		return f.setString(v, s)
	}
	return ""
}

// setString stores text in a setting that is written as text.
func (f *field) setString(v reflect.Value, s string) (want string) {
	switch f.kind {
	case text:
		if f.enum != nil && !slices.Contains(f.enum, s) {
			return f.want()
		}
		f.target(v).SetString(s)
	case truth:
		b, ok := parseTruth(s)
		if !ok {
			return f.want()
		}
		f.target(v).SetBool(b)
	case span:
		d, err := time.ParseDuration(s)
		if err != nil || s == "0" {
			return f.want()
		}
		f.target(v).SetInt(int64(d))
	case amount:
		n, err := ParseSize(s)
		if err != nil {
			return f.want()
		}
		f.target(v).SetInt(int64(n))
	case decimal:
		d, err := ParseDecimal(s)
		if err != nil {
			return f.want()
		}
		f.target(v).SetInt(int64(d))
	default:
		return f.want()
	}
	return ""
}

// setNumber stores an int64 or uint64 in an integer setting.
func (f *field) setNumber(v reflect.Value, n any) (want string) {
	if f.kind != number {
		if f.kind == text && f.enum == nil && f.wanted == "" {
			return "text; put it in quotes"
		}
		return f.want()
	}
	target := f.typ
	if f.optional {
		target = target.Elem()
	}
	x := reflect.New(target).Elem()
	switch n := n.(type) {
	case int64:
		if x.CanInt() && !x.OverflowInt(n) {
			x.SetInt(n)
		} else if x.CanUint() && n >= 0 && !x.OverflowUint(uint64(n)) {
			x.SetUint(uint64(n))
		} else {
			return f.want()
		}
	case uint64:
		if n <= 1<<63-1 && x.CanInt() {
			return f.setNumber(v, int64(n))
		}
		if !x.CanUint() || x.OverflowUint(n) {
			return f.want()
		}
		x.SetUint(n)
	default:
		return f.want()
	}
	f.target(v).Set(x)
	return ""
}

// parseTruth also takes on and off, as one says of receipts.
func parseTruth(s string) (value, ok bool) {
	switch s {
	case "true", "on":
		return true, true
	case "false", "off":
		return false, true
	}
	return false, false
}

// format writes a value as a flag takes it.
func (f *field) format(v reflect.Value) string {
	if f.optional {
		if v.IsNil() {
			return ""
		}
		v = v.Elem()
	}
	switch f.kind {
	case list:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = f.elem.format(v.Index(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case group:
		parts := make([]string, len(f.children))
		for i, c := range f.children {
			parts[i] = c.key + ": " + c.format(v.Field(c.index))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case text:
		return v.String()
	case truth:
		return strconv.FormatBool(v.Bool())
	case number:
		if v.CanUint() {
			return strconv.FormatUint(v.Uint(), 10)
		}
		return strconv.FormatInt(v.Int(), 10)
	case span:
		return formatDuration(time.Duration(v.Int()))
	case amount:
		return Size(v.Int()).String()
	case decimal:
		return Decimal(v.Int()).String()
	default:
		s := v.Interface().(Secret)
		if f.urlish && !hasPassword(s.value) {
			return s.value
		}
		return s.String()
	}
}

// formatDuration is Duration.String without the zeros at its end: 5m, not 5m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}
