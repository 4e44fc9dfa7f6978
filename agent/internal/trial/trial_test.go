package trial

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// begin is Begin without an error.
func begin(t *testing.T, file, version string) *Trial {
	t.Helper()
	trial, err := Begin(file, version)
	if err != nil {
		t.Fatal(err)
	}
	return &trial
}

// TestWhichVersionIsOnTrial has versions start one after the other: "v1+" is one that
// works, "v1" one that does not, and "v2? v2+?" are on trial as they begin.
func TestWhichVersionIsOnTrial(t *testing.T) {
	for _, c := range []struct {
		name   string
		starts string
		file   string
	}{
		{"the first version ever, offline for days", "v1 v1 v1", ""},
		{"the first version works", "v1 v1+ v1", `{"proven":["v1"]}`},
		{"no version has worked yet", "v1 v2 v3", ""},
		{"a good update", "v1+ v2+? v2 v2", `{"proven":["v2","v1"]}`},
		{"a bad update is taken back", "v1+ v2? v1 v1", `{"proven":["v1"]}`},
		{"and tried again each day", "v1+ v2? v1 v2? v1+ v2?", `{"proven":["v1"],"trial":"v2"}`},
		{"and replaced by another bad one", "v1+ v2? v3? v1", `{"proven":["v1"]}`},
		{"nobody takes it back: its second start is no trial", "v1+ v2? v2 v2", `{"proven":["v1"],"trial":"v2"}`},
		{"and works in the end", "v1+ v2? v2+ v2", `{"proven":["v2","v1"]}`},
		{"back to the version before, offline", "v1+ v2+? v1 v1 v2", `{"proven":["v2","v1"]}`},
		{"and it works again", "v1+ v2+? v1+ v2", `{"proven":["v1","v2"]}`},
		{"many versions", "v0+ v1+? v2+? v3+? v4+? v5+? v6+? v7+? v8+? v9+? v1?", `{"proven":["v9","v8","v7","v6","v5","v4","v3","v2"],"trial":"v1"}`},
		{"a version is any text", "a\"b+ unknown+? a\"b", `{"proven":["unknown","a\"b"]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "trial")
			var got []string
			for start := range strings.FieldsSeq(c.starts) {
				start = strings.TrimSuffix(start, "?")
				trial := begin(t, file, strings.TrimSuffix(start, "+"))
				if strings.HasSuffix(start, "+") {
					if err := trial.Prove(); err != nil {
						t.Fatal(err)
					}
				}
				if trial.On() {
					start += "?"
				}
				got = append(got, start)
			}
			if diff := cmp.Diff(c.starts, strings.Join(got, " ")); diff != "" {
				t.Errorf("starts (-want +got):\n%s", diff)
			}
			data, err := os.ReadFile(file)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.file, strings.TrimSpace(string(data))); diff != "" {
				t.Errorf("file (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWhoeverBeganBeforeIsNotOnTrial holds random histories to what a restart must
// never meet: a version that is known, or that begins again, is not on trial.
func TestWhoeverBeganBeforeIsNotOnTrial(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		n++
		file := filepath.Join(dir, fmt.Sprint(n))
		proven := map[string]bool{}
		before := ""
		for range rapid.IntRange(1, 8).Draw(r, "starts") {
			version := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "version")
			trial, err := Begin(file, version)
			if err != nil {
				r.Fatal(err)
			}
			want := len(proven) > 0 && !proven[version] && before != version
			if trial.On() != want {
				r.Fatalf("%s on trial: %v, want %v, after %s with %v proven", version, trial.On(), want, before, proven)
			}
			before = version
			if len(proven) == 0 {
				before = "" // it was not on trial
			}
			if rapid.Bool().Draw(r, "works") {
				if err := trial.Prove(); err != nil {
					r.Fatal(err)
				}
				proven[version] = true
			}
		}
	})
}

func TestWithoutAFile(t *testing.T) {
	trial := begin(t, "", "v1")
	if trial.On() || trial.Prove() != nil {
		t.Error("a trial without a file is on, or fails")
	}
}

// TestWhatCannotBeNotedIsNoTrial: or every start would be one, for ever.
func TestWhatCannotBeNotedIsNoTrial(t *testing.T) {
	dir := t.TempDir()
	nowhere := filepath.Join(dir, "absent", "trial")
	trial := begin(t, nowhere, "v1") // there is nothing to note yet
	if err := trial.Prove(); trial.On() || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Prove without a folder: %v, on trial %v", err, trial.On())
	}
	for name, content := range map[string]string{
		"damaged": "{\"proven\":[\"v", "empty": "", "of another kind": `["v1"]`,
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		trial, err := Begin(file, "v2")
		if err == nil || !strings.HasPrefix(err.Error(), file+": ") || trial.On() {
			t.Errorf("%s: %v, on trial %v, want an error that names the file", name, err, trial.On())
		}
		if err := trial.Prove(); err != nil { // which mends it
			t.Errorf("%s: Prove: %v", name, err)
		}
		if begin(t, file, "v2").On() || !begin(t, file, "v3").On() {
			t.Errorf("%s: v2 is on trial after it was proven, or v3 is not", name)
		}
	}

	// A file that cannot be replaced, as on a medium that has become read-only.
	file := filepath.Join(dir, "stuck")
	if err := begin(t, file, "v1").Prove(); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	if trial, err := Begin(file, "v2"); err == nil || trial.On() {
		t.Errorf("v2 on trial %v with %v, want an error and no trial", trial.On(), err)
	}
	if begin(t, file, "v1").On() {
		t.Error("v1 is on trial")
	}
}

// TestAnUnfinishedWriteIsNoneOfTheFile: a power cut leaves the file of before.
func TestAnUnfinishedWriteIsNoneOfTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "trial")
	if err := begin(t, file, "v1").Prove(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".new", []byte(`{"proven":["v`), 0o600); err != nil {
		t.Fatal(err)
	}
	if begin(t, file, "v1").On() || !begin(t, file, "v2").On() {
		t.Error("what was not finished counts")
	}
}
