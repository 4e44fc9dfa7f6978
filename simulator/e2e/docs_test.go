package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// root is the repository's folder, seen from this package's.
const root = "../.."

// markdown returns the Markdown files of the repository.
func markdown(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if entry != nil && entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && len(entry.Name()) > 2 {
			return filepath.SkipDir
		}
		if err == nil && filepath.Ext(path) == ".md" {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) < 5 {
		t.Fatalf("%d Markdown files, %v", len(files), err)
	}
	return files
}

var (
	link      = regexp.MustCompile(`\]\(([^)#]*)(?:#([^)]*))?\)`)
	codeBlock = regexp.MustCompile("(?ms)^```.*?^```")
	heading   = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// anchors returns what a link may name in a document: its headings, as GitHub
// writes them.
func anchors(text string) []string {
	var all []string
	for _, match := range heading.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
		all = append(all, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			default:
				return -1
			}
		}, match[1]))
	}
	return all
}

// TestLinks follows the links between the documents, to the heading that they name.
func TestLinks(t *testing.T) {
	named := 0
	for _, file := range markdown(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(match[1], "://") {
				continue
			}
			target := file
			if match[1] != "" {
				target = filepath.Join(filepath.Dir(file), match[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", file, match[1], err)
				continue
			}
			if match[2] == "" || filepath.Ext(target) != ".md" {
				continue
			}
			named++
			if linked, err := os.ReadFile(target); err != nil || !slices.Contains(anchors(string(linked)), match[2]) {
				t.Errorf("%s links to #%s of %s, which has no such heading, %v", file, match[2], target, err)
			}
		}
	}
	if named < 20 {
		t.Errorf("%d links to headings found, the agent's README alone has many", named)
	}
}

var shell = regexp.MustCompile("(?s)```sh\n(.*?)```")

// commands returns the lines of the documents' shell blocks.
func commands(t *testing.T) map[string][]string {
	t.Helper()
	lines := make(map[string][]string)
	for _, file := range markdown(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range shell.FindAllStringSubmatch(string(text), -1) {
			for line := range strings.Lines(strings.ReplaceAll(block[1], "\\\n", " ")) {
				command, _, _ := strings.Cut(strings.TrimSpace(line), "  #")
				lines[file] = append(lines[file], strings.TrimSpace(command))
			}
		}
	}
	return lines
}

// TestMakeTargets holds the make commands of the documents to the Makefile.
func TestMakeTargets(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for file, lines := range commands(t) {
		for _, line := range lines {
			words := strings.Fields(line)
			if len(words) < 2 || words[0] != "make" {
				continue
			}
			checked++
			if !strings.Contains("\n"+string(makefile), "\n"+words[1]+":") {
				t.Errorf("%s says %q, the Makefile has no such target", file, line)
			}
			if match := goPattern.FindStringSubmatch(line); match != nil {
				name, _, _ := strings.Cut(match[1], "/")
				if tests := testsIn(t, suites[words[1]]); !hasTest(tests, name) {
					t.Errorf("%s says %q: of the tests of make %s none is %s", file, line, words[1], name)
				}
			}
		}
	}
	if checked < 2 {
		t.Errorf("%d make commands found, the README has two", checked)
	}
}

// suites are the folders whose tests a make target runs, of the targets that
// documents have run one test alone.
var suites = map[string]string{"hil": "simulator/hil", "scenario": "simulator/scenario"}

// testsIn returns the names of the tests in a folder of the repository.
func testsIn(t *testing.T, folder string) []string {
	t.Helper()
	sources, err := filepath.Glob(filepath.Join(root, folder, "*_test.go"))
	if err != nil || len(sources) == 0 {
		t.Errorf("%q has no tests, %v", folder, err)
	}
	var tests []string
	for _, source := range sources {
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range goTests.FindAllStringSubmatch(string(text), -1) {
			tests = append(tests, match[1])
		}
	}
	return tests
}

// hasTest reports whether a pattern of go test -run finds one.
func hasTest(tests []string, pattern string) bool {
	return slices.ContainsFunc(tests, func(test string) bool { return strings.HasPrefix(test, pattern) })
}

var (
	goPackage = regexp.MustCompile(`^\./[a-z0-9/]+$`)
	goPattern = regexp.MustCompile(`-(?:run|fuzz) '?([A-Za-z0-9|/]+)'?`)
	goTests   = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
)

// TestGoTestCommands holds the go test commands of the documents to the packages:
// they exist, and each test that is named is in one of them.
func TestGoTestCommands(t *testing.T) {
	checked := 0
	for file, lines := range commands(t) {
		for _, line := range lines {
			if !strings.HasPrefix(line, "go test ") {
				continue
			}
			checked++
			var tests []string
			for word := range strings.FieldsSeq(line) {
				if !goPackage.MatchString(word) {
					continue
				}
				tests = append(tests, testsIn(t, word)...)
			}
			for _, match := range goPattern.FindAllStringSubmatch(line, -1) {
				for name := range strings.SplitSeq(match[1], "|") {
					if !hasTest(tests, name) {
						t.Errorf("%s says %q: there is no %s", file, line, name)
					}
				}
			}
		}
	}
	if checked < 5 {
		t.Errorf("%d go test commands found, drivers/add-a-chip.md has five", checked)
	}
}

var namedTest = regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w*)")

// TestNamedTests holds the names of tests in the documents to the sources: what a
// document says is shown is.
func TestNamedTests(t *testing.T) {
	functions := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	known := make(map[string]bool)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, match := range functions.FindAllStringSubmatch(string(text), -1) {
			known[match[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, file := range markdown(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range namedTest.FindAllStringSubmatch(string(text), -1) {
			checked++
			if !known[match[1]] {
				t.Errorf("%s names %s, which there is not", file, match[1])
			}
		}
	}
	if checked < 20 {
		t.Errorf("%d tests named, deploy/threat-model.md names more", checked)
	}
}
