package main

import (
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestCrash plays testdata/crash/story.txtar once for every line of testdata/crash/steps.txt: the server dies there, and in
// the end everything is as if it had not.
func TestCrash(t *testing.T) {
	data, err := os.ReadFile("testdata/crash/steps.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		t.Run(strings.Join(fields, "_"), func(t *testing.T) {
			t.Parallel()
			p := params(map[string]string{"CRASH": strings.Join(fields, ":")})
			p.Files = []string{"testdata/crash/story.txtar"}
			testscript.Run(t, p)
		})
	}
}
