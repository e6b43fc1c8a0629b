package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestCrash plays each story of testdata/crash once for every line of the list of steps beside it: the server dies there, and
// in the end everything is as if it had not. A step that the story never takes fails it.
func TestCrash(t *testing.T) {
	lists, err := filepath.Glob("testdata/crash/*.txt")
	if err != nil || len(lists) == 0 {
		t.Fatalf("no lists of steps: %v", err)
	}
	for _, list := range lists {
		data, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			line, _, _ = strings.Cut(line, "#")
			step := strings.Fields(line)
			if len(step) == 0 {
				continue
			}
			t.Run(strings.Join(step, "_"), func(t *testing.T) {
				t.Parallel()
				p := params(map[string]string{"STEP": strings.Join(step, ":")})
				p.Files = []string{list + "ar"}
				testscript.Run(t, p)
			})
		}
	}
}
