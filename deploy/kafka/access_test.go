//go:build integration

// Package kafka has the tests of the script access, which need bash.
package kafka

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tools are stand-ins for Kafka's own, which write down how they are called.
type tools struct {
	t   *testing.T
	dir string
}

func newTools(t *testing.T) *tools {
	t.Helper()
	k := &tools{t, t.TempDir()}
	for name, script := range map[string]string{
		"kafka-acls.sh": `echo "$*" >>"$0.calls"`,
		"kafka-configs.sh": `echo "$*" >>"$0.calls"
for last; do :; done
stat -c %a "$last" >"$0.file"
cat "$last" >>"$0.file"`,
	} {
		if err := os.WriteFile(filepath.Join(k.dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

// access runs the script, and returns its exit code and what it says.
func (k *tools) access(input string, args ...string) (code int, said string) {
	k.t.Helper()
	command := exec.Command("./access", args...)
	command.Env = append(os.Environ(), "KAFKA_BIN="+k.dir, "KAFKA_ADMIN=admin", "KAFKA_BOOTSTRAP=node:1")
	command.Stdin = strings.NewReader(input)
	out, err := command.CombinedOutput()
	if err != nil && command.ProcessState == nil {
		k.t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), string(out)
}

// read returns what a stand-in has written down.
func (k *tools) read(name string) string {
	k.t.Helper()
	data, err := os.ReadFile(filepath.Join(k.dir, name))
	if err != nil && !os.IsNotExist(err) {
		k.t.Fatal(err)
	}
	return string(data)
}

// rights returns what the calls allow, by operation and kind of resource.
func (k *tools) rights(how string) map[string][]string {
	k.t.Helper()
	call := regexp.MustCompile(`^--bootstrap-server node:1 --command-config admin --` + how + ` --force --allow-principal User:u --operation (\w+) (.*)$`)
	rights := make(map[string][]string)
	for line := range strings.Lines(k.read("kafka-acls.sh.calls")) {
		match := call.FindStringSubmatch(strings.TrimSpace(line))
		if match == nil {
			k.t.Fatalf("a call of another form: %s", line)
		}
		words := strings.Fields(match[2])
		for i := 0; i < len(words); i += 2 {
			key := match[1] + " " + words[i]
			rights[key] = append(rights[key], words[i+1])
			slices.Sort(rights[key])
		}
	}
	return rights
}

var name = regexp.MustCompile("`([a-z-]+)`")

// documented returns the rights of a role that README.md has.
func documented(t *testing.T, role string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| ` + role + ` \|(.*)\|(.*)\|(.*)\|(.*)\|(.*)\|$`).FindStringSubmatch(string(text))
	if row == nil {
		t.Fatalf("README.md has no row of %s", role)
	}
	rights := make(map[string][]string)
	add := func(key, cell string) {
		for _, match := range name.FindAllStringSubmatch(cell, -1) {
			if !slices.Contains(rights[key], match[1]) {
				rights[key] = append(rights[key], match[1])
			}
		}
		slices.Sort(rights[key])
		if rights[key] == nil {
			delete(rights, key)
		}
	}
	add("Read --topic", row[1])
	add("Write --topic", row[2])
	add("Read --group", row[4])
	topics, groups, _ := strings.Cut(row[5], ";")
	add("Describe --topic", topics)
	add("Describe --group", groups)
	creates := row[3]
	if strings.Contains(creates, "those") {
		creates += row[1] + row[2]
	}
	add("Create --topic", creates)
	return rights
}

// TestRights holds the script to the table of README.md, which the pipeline's test
// on a real cluster finds to be enough.
func TestRights(t *testing.T) {
	for _, role := range []string{"bridge", "aggregate", "sink", "metrics", "scaler"} {
		for verb, how := range map[string]string{"grant": "add", "revoke": "remove"} {
			k := newTools(t)
			if code, said := k.access("", verb, "u", role); code != 0 {
				t.Fatalf("%s %s: exit code %d: %s", verb, role, code, said)
			}
			want := documented(t, role)
			if diff := cmp.Diff(want, k.rights(how)); diff != "" {
				t.Errorf("%s %s (-README.md +access):\n%s", verb, role, diff)
			}
		}
	}
}

// TestScaler: the role scaler sees what KEDA is told to watch, and no more.
func TestScaler(t *testing.T) {
	text, err := os.ReadFile("../kubernetes/components/keda/scaling.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string][]string)
	for _, match := range regexp.MustCompile(`(?m)^ +(consumerGroup|topic): (\S+)$`).FindAllSubmatch(text, -1) {
		key := map[string]string{"consumerGroup": "Describe --group", "topic": "Describe --topic"}[string(match[1])]
		want[key] = append(want[key], string(match[2]))
		slices.Sort(want[key])
		want[key] = slices.Compact(want[key])
	}
	k := newTools(t)
	if code, said := k.access("", "grant", "u", "scaler"); code != 0 {
		t.Fatalf("exit code %d: %s", code, said)
	}
	if diff := cmp.Diff(want, k.rights("add")); diff != "" || len(want) != 2 {
		t.Errorf("-scaling.yaml +access:\n%s", diff)
	}
}

// TestAllRoles: without a role a user is granted those of ingest, and no other's.
func TestAllRoles(t *testing.T) {
	all, each := newTools(t), newTools(t)
	if code, said := all.access("", "grant", "u"); code != 0 {
		t.Fatalf("exit code %d: %s", code, said)
	}
	if code, said := each.access("", "grant", "u", "bridge", "aggregate", "sink", "metrics"); code != 0 {
		t.Fatalf("exit code %d: %s", code, said)
	}
	if diff := cmp.Diff(each.rights("add"), all.rights("add")); diff != "" {
		t.Errorf("-the four +without a role:\n%s", diff)
	}
}

// TestPassword: a password is taken from standard input, and is in a file of
// nobody else's that is gone in the end, never on a command line.
func TestPassword(t *testing.T) {
	k := newTools(t)
	const password = "S3cret/with=what+it_may"
	if code, said := k.access(password+"\n", "user", "telltale-ingest"); code != 0 || strings.Contains(said, password) {
		t.Errorf("exit code %d: %s", code, said)
	}
	calls := k.read("kafka-configs.sh.calls")
	if !strings.Contains(calls, "--entity-type users --entity-name telltale-ingest --add-config-file /") || strings.Contains(calls, password) {
		t.Errorf("called with %s", calls)
	}
	if got, want := k.read("kafka-configs.sh.file"), "600\nSCRAM-SHA-512=iterations=8192,password="+password+"\n"; got != want {
		t.Errorf("the file had %q, want %q", got, want)
	}
	file := calls[strings.LastIndexByte(strings.TrimSpace(calls), ' ')+1:]
	if _, err := os.Stat(strings.TrimSpace(file)); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", file, err)
	}
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		input string
		args  []string
		want  string
	}{
		{"", []string{"user", "a"}, "want the password on standard input"},
		{"short\n", []string{"user", "a"}, "want a password of 12 to 256"},
		{"a,password=b,c=dddddddd\n", []string{"user", "a"}, "want a password of 12 to 256"},
		{"long-enough-password\n", []string{"user", "a b"}, "user a b: want"},
		{"", []string{"user"}, "user: want a name"},
		{"", []string{"grant"}, "grant: want a name"},
		{"", []string{"grant", "a", "boss"}, "role boss: want bridge, aggregate, sink, metrics or scaler"},
		{"", []string{"grant", "a", "lag"}, "role lag: want"},
		{"", []string{"allow"}, "access grant NAME"},
		{"", []string{"allow"}, "KAFKA_BIN"},
	} {
		k := newTools(t)
		code, said := k.access(tt.input, tt.args...)
		if code != 2 || !strings.Contains(said, tt.want) {
			t.Errorf("%q: exit code %d, %q, want %q", tt.args, code, said, tt.want)
		}
		if calls := k.read("kafka-acls.sh.calls") + k.read("kafka-configs.sh.calls"); calls != "" {
			t.Errorf("%q called %s", tt.args, calls)
		}
	}
}
