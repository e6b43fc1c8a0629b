package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/pipeline"
)

// TestDocumentedPipelines keeps the examples in the documents true: each is a pipeline file without a fault.
func TestDocumentedPipelines(t *testing.T) {
	for _, file := range []string{"../../README.md", "../../docs/pipeline.md", "../../examples/tks-contract/.slipway.yaml"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		examples := [][]string{{"", string(text)}}
		if strings.HasSuffix(file, ".md") {
			examples = regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
		}
		if len(examples) == 0 {
			t.Errorf("%s shows no pipeline", file)
		}
		for _, example := range examples {
			for _, fault := range pipeline.Validate([]byte(example[1]), file) {
				t.Errorf("%s%s", place(fault), fault.Message)
			}
		}
	}
}
