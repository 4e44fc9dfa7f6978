package telemetry

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEach(t *testing.T) {
	type call struct{ Raw, ID, Reason string }
	const a, b = `{"id":"a","timestamp":1}`, `{ "id":"b", "timestamp":2, "x":1 }`
	tests := []struct {
		name   string
		json   string
		want   []call
		reason string
	}{
		{"one frame", a, []call{{a, "a", ""}}, ""},
		{"one frame in white space", "\n" + b + " ", []call{{b, "b", ""}}, ""},
		{"a batch of one", "[" + a + "]", []call{{a, "a", ""}}, ""},
		{"a batch", " [ " + a + " ,\t" + b + " ] ", []call{{a, "a", ""}, {b, "b", ""}}, ""},
		{"an empty batch", "[]", nil, ""},
		{"one bad frame", `{"id":"a"}`, []call{{`{"id":"a"}`, "a", ReasonMissingTimestamp}}, ""},
		{
			"bad frames among good ones",
			`[` + a + `,{"id":"c"},null,"x",[` + a + `],` + nested(MaxDepth+1) + `,{"id":7,"timestamp":1},` + b + `]`,
			[]call{
				{a, "a", ""}, {`{"id":"c"}`, "c", ReasonMissingTimestamp}, {`null`, "", ReasonWrongType}, {`"x"`, "", ReasonWrongType},
				{`[` + a + `]`, "", ReasonWrongType}, {nested(MaxDepth + 1), "", ReasonTooDeep},
				{`{"id":7,"timestamp":1}`, "", ReasonWrongType}, {b, "b", ""},
			}, "",
		},
		{"a frame as deep in a batch as alone", `[{"id":"a","timestamp":1,"x":` + nested(MaxDepth-1) + `}]`,
			[]call{{`{"id":"a","timestamp":1,"x":` + nested(MaxDepth-1) + `}`, "a", ""}}, ""},
		{"a syntax error after a frame", "[" + a + ",{]", []call{{a, "a", ""}}, ReasonNotJSON},
		{"a batch that ends too early", "[" + a + "," + b, []call{{a, "a", ""}, {b, "b", ""}}, ReasonNotJSON},
		{"a comma too many", "[" + a + ",]", []call{{a, "a", ""}}, ReasonNotJSON},
		{"something after a batch", "[" + a + "]]", []call{{a, "a", ""}}, ReasonNotJSON},
		{"something after a frame", a + b, nil, ReasonNotJSON},
		{"nothing", "", nil, ReasonNotJSON},
		{"a number", "42", nil, ReasonWrongType},
		{"null", "null", nil, ReasonWrongType},
		{"a number and more", "42 42", nil, ReasonNotJSON},
		{"a megabyte of brackets", strings.Repeat("[", 1<<20), nil, ReasonNotJSON},
		{"a megabyte of braces", strings.Repeat(`{"x":`, 1<<20/5), nil, ReasonNotJSON},
	}
	var d Decoder
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []call
			err := d.Each([]byte(test.json), func(raw []byte, f *Frame, err error) {
				got = append(got, call{string(raw), f.ID, reasonOf(err)})
				unknown, spaced := bytes.Contains(raw, []byte(`"x":`)), bytes.Contains(raw, []byte(` `))
				if d.Unknown != unknown || d.Spaced != spaced {
					t.Errorf("%s: unknown %v, spaced %v", raw, d.Unknown, d.Spaced)
				}
			})
			if reason := reasonOf(err); reason != test.reason {
				t.Errorf("got %v, want %q", err, test.reason)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}
