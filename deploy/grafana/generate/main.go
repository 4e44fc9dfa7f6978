// The command generate writes Grafana's dashboards of telltale.
//
//	generate FOLDER
//
// makes one JSON file of each there. What it writes is committed, and a test
// holds the two together.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// boards are the dashboards, by the name of their file.
func boards() map[string]board {
	return map[string]board{
		"sensors.json":  sensors(),
		"pipeline.json": pipeline(),
		"ledger.json":   ledger(),
		"fleet.json":    fleet(),
		"platform.json": platform(),
	}
}

// encode returns the dashboards' files.
func encode() (map[string][]byte, error) {
	files := make(map[string][]byte)
	for file, b := range boards() {
		d, err := b.build()
		if err != nil {
			return nil, err
		}
		var text bytes.Buffer
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(d); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		files[file] = text.Bytes()
	}
	return files, nil
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want the folder for the dashboards, got %q", args)
	}
	files, err := encode()
	if err != nil {
		return err
	}
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(args[0], file), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}
