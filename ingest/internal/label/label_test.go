package label

import "testing"

func TestSet(t *testing.T) {
	s := Set{Max: 2}
	for _, step := range []struct{ value, want string }{
		{"a", "a"}, {"b", "b"}, {"c", Other}, {"a", "a"}, {"", Other}, {"b", "b"}, {Other, Other},
	} {
		if got := s.Of(step.value); got != step.want {
			t.Errorf("Of(%q) is %q, want %q", step.value, got, step.want)
		}
	}
	if got := new(Set).Of("a"); got != Other {
		t.Errorf("the zero Set admits %q", got)
	}
}
