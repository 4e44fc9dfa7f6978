package scenario

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed shipped/*.yaml
var shipped embed.FS

const suffix = ".yaml"

// Shipped returns the names of the scenarios that come with the program,
// sorted.
func Shipped() []string {
	files, err := fs.Glob(shipped, "shipped/*"+suffix)
	if err != nil {
		panic(err) // the pattern is wrong
	}
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = strings.TrimSuffix(strings.TrimPrefix(file, "shipped/"), suffix)
	}
	return names
}

// Read returns the file of a scenario that comes with the program. The error is
// fs.ErrNotExist if none has that name.
func Read(name string) ([]byte, error) { return shipped.ReadFile("shipped/" + name + suffix) }
