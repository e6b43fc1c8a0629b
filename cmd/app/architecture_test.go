package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestArchitectureNamesWhatThereIs keeps ARCHITECTURE.md's tests and scripts true: each one it names exists.
func TestArchitectureNamesWhatThereIs(t *testing.T) {
	text, err := os.ReadFile("../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	scripts := map[string]bool{}
	err = filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasSuffix(path, "_test.go"):
			data, err := os.ReadFile(path)
			tests.Write(data)
			return err
		case strings.HasSuffix(path, ".txtar"):
			scripts[d.Name()] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile("`(Test[A-Za-z0-9_]+)`").FindAllStringSubmatch(string(text), -1) {
		if !strings.Contains(tests.String(), "func "+name[1]+"(") {
			t.Errorf("ARCHITECTURE.md names %s, which no file defines", name[1])
		}
	}
	for _, name := range regexp.MustCompile("`([a-z0-9-]+\\.txtar)`").FindAllStringSubmatch(string(text), -1) {
		if !scripts[name[1]] {
			t.Errorf("ARCHITECTURE.md names the script %s, which does not exist", name[1])
		}
	}
}
