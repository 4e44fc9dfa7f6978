// Package settingstest is for tests that hold the commented example of a
// program's configuration file together with the settings that the program has.
//
// In such a file a comment is prose if a space follows its #, and a setting at
// its default, commented out, if a name does.
package settingstest

import (
	"regexp"

	"github.com/goccy/go-yaml"
)

var commentedOut = regexp.MustCompile(`(?m)^( *)#([a-z_]+:)`)

// Uncomment returns the file with the settings that are commented out put in
// force.
func Uncomment(file []byte) []byte {
	return commentedOut.ReplaceAll(file, []byte("$1$2"))
}

// Paths returns the paths of the settings in a file, those of a list's elements
// as Settings.Document has them: sensors[].id. Groups are not among them.
func Paths(file []byte) (map[string]bool, error) {
	var document map[string]any
	if err := yaml.Unmarshal(file, &document); err != nil {
		return nil, err
	}
	paths := map[string]bool{}
	collect(paths, "", document)
	return paths, nil
}

func collect(paths map[string]bool, path string, value any) {
	switch value := value.(type) {
	case map[string]any:
		for key, v := range value {
			at := key
			if path != "" {
				at = path + "." + key
			}
			collect(paths, at, v)
		}
	case []any:
		paths[path] = true
		for _, v := range value {
			collect(paths, path+"[]", v)
		}
	default:
		paths[path] = true
	}
	delete(paths, path+"[]") // an element of a list of scalars is no setting
}
