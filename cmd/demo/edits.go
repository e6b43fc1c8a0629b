package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// What the people of the story change in the sample repository.
const (
	greeting  = "greeting: Hello"
	contracts = `{"c-2", "Daehan"}`

	buildStep     = "RUN --mount=type=cache"
	buildPackage  = "-o /out/tks-contract ."
	brokenPackage = "-o /out/tks-contract ./cmd/contract"

	startServing = "\taddress := os.Getenv(\"ADDRESS\")\n"
	crash        = "\tif os.Getenv(\"CONTRACTS_URL\") == \"\" {\n\t\treturn errors.New(\"" + lastWords + "\")\n\t}\n"
	lastWords    = "CONTRACTS_URL is not set: no idea where contracts are kept"
)

// befriend makes a harmless change to the program and to its chart.
func (w *workcopy) befriend() error {
	if err := w.edit(filepath.Join("charts", "tks-contract", "values.yaml"), greeting, "greeting: Good morning"); err != nil {
		return err
	}
	return w.edit("main.go", contracts, contracts+`, {"c-3", "Seorae"}`)
}

// breakBuild lets the Dockerfile build a package that isn't there. It returns the line that fails.
func (w *workcopy) breakBuild() (line int, err error) {
	if err := w.edit("Dockerfile", buildPackage, brokenPackage); err != nil {
		return 0, err
	}
	return w.lineOf("Dockerfile", buildStep)
}

// mendBuildAndCrash takes breakBuild back, and lets the program end as soon as it is to serve.
func (w *workcopy) mendBuildAndCrash() error {
	if err := w.edit("Dockerfile", brokenPackage, buildPackage); err != nil {
		return err
	}
	return w.edit("main.go", startServing, crash+startServing)
}

// pry lets the Dockerfile look for secrets.
func (w *workcopy) pry() error {
	return w.edit("Dockerfile", buildStep, "RUN cat /run/secrets/* /root/.docker/config.json; true\n"+buildStep)
}

// edit replaces text in a file. The text must be there: a sample that has changed needs a story that has.
func (w *workcopy) edit(file, before, after string) error {
	path := filepath.Join(w.dir, file)
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if n := strings.Count(string(data), before); n != 1 {
		return fmt.Errorf("%s of the sample repository has %q %d times, and the story needs it once", file, before, n)
	}
	return os.WriteFile(path, []byte(strings.Replace(string(data), before, after, 1)), 0o644)
}

// lineOf is the number of the line of a file where text begins, which is in it once.
func (w *workcopy) lineOf(file, text string) (int, error) {
	data, err := os.ReadFile(filepath.Join(w.dir, file))
	if err != nil {
		return 0, err
	}
	before, _, found := strings.Cut(string(data), text)
	if !found {
		return 0, fmt.Errorf("%s of the sample repository lacks %q", file, text)
	}
	return strings.Count(before, "\n") + 1, nil
}
