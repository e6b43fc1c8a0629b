// Command openapiprune cuts GitHub's published OpenAPI descriptions down to what the stand-in GitHub checks itself against.
//
// It fetches three pinned npm packages (npm pack, kept in a cache folder), verifies their SHA-256 and writes, gzipped and
// without any prose or example:
//
//	api.json.gz       the REST operations named in keep.go with everything they refer to
//	webhooks.json.gz  the webhook payload schemas named in keep.go with everything they refer to
//	examples.json.gz  the example payloads, untouched, as a list of {event, action, body}
//	NOTICE.md         versions, checksums and licences of the sources
//
// Run it with go generate in the parent folder. The output is the same on every machine.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// source is one pinned npm package.
type source struct {
	name, version, sha256 string
}

var (
	restSource     = source{"@octokit/openapi", "23.0.2", "71a18407dd5e8464f4e0525daf03deabbe65abd9287d6adc7b5d98f516cd0d0c"}
	webhookSource  = source{"@octokit/openapi-webhooks", "12.1.0", "112b87c7dcda464640248dcf5965bcd69027c65bb45c26ae78fbf3f0d1eaa740"}
	examplesSource = source{"@octokit/webhooks-examples", "7.6.1", "89e6cb1c6345d32e3dd775617fa54effbdc26c859e514898d7728e95e9738280"}
)

func main() {
	out := flag.String("out", "openapi", "folder the pruned files are written to")
	cache := flag.String("cache", "", "folder that keeps the fetched packages (default: the user's cache folder)")
	flag.Parse()
	if err := run(*out, *cache); err != nil {
		fmt.Fprintln(os.Stderr, "openapiprune:", err)
		os.Exit(1)
	}
}

func run(out, cache string) error {
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("find the cache folder: %w", err)
		}
		cache = filepath.Join(dir, "slipway", "npm")
	}
	rest, err := load(cache, restSource, "package/generated/api.github.com.json")
	if err != nil {
		return err
	}
	hooks, err := load(cache, webhookSource, "package/generated/api.github.com.json")
	if err != nil {
		return err
	}
	examples, err := load(cache, examplesSource, "package/api.github.com/index.json")
	if err != nil {
		return err
	}
	api, err := pruneOperations(rest)
	if err != nil {
		return err
	}
	payloads, err := pruneWebhooks(hooks)
	if err != nil {
		return err
	}
	list, err := listExamples(examples)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for name, content := range map[string]any{"api": api, "webhooks": payloads, "examples": list} {
		if err := writeGzip(filepath.Join(out, name+".json.gz"), content); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(out, "NOTICE.md"), []byte(notice()), 0o644)
}

// load returns one JSON file of a package, fetching the package when the cache doesn't hold it.
func load(cache string, from source, file string) (map[string]any, error) {
	archive, err := fetch(cache, from)
	if err != nil {
		return nil, err
	}
	raw, err := extract(archive, file)
	if err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", file, from.name, err)
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var content any
	if err := decoder.Decode(&content); err != nil {
		return nil, fmt.Errorf("decode %s of %s: %w", file, from.name, err)
	}
	if list, ok := content.([]any); ok {
		return map[string]any{"list": list}, nil
	}
	return content.(map[string]any), nil
}

func fetch(cache string, from source) ([]byte, error) {
	file := filepath.Join(cache, strings.ReplaceAll(strings.TrimPrefix(from.name, "@"), "/", "-")+"-"+from.version+".tgz")
	archive, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(cache, 0o755); err != nil {
			return nil, err
		}
		pack := exec.CommandContext(context.Background(), "npm", "pack", "--silent", "--pack-destination", cache, from.name+"@"+from.version)
		pack.Stderr = os.Stderr
		if err := pack.Run(); err != nil {
			return nil, fmt.Errorf("npm pack %s@%s: %w", from.name, from.version, err)
		}
		archive, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(archive); hex.EncodeToString(sum[:]) != from.sha256 {
		return nil, fmt.Errorf("%s has SHA-256 %x, the pinned one is %s", file, sum, from.sha256)
	}
	return archive, nil
}

func extract(archive []byte, name string) ([]byte, error) {
	unzipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, err
	}
	for entries := tar.NewReader(unzipped); ; {
		entry, err := entries.Next()
		if err != nil {
			return nil, err
		}
		if entry.Name == name {
			return io.ReadAll(entries)
		}
	}
}

// writeGzip writes content as JSON with sorted keys; the gzip header carries no time, so equal content gives equal bytes.
func writeGzip(path string, content any) error {
	var buffer bytes.Buffer
	zipped, err := gzip.NewWriterLevel(&buffer, gzip.BestCompression)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(zipped)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(content); err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	if err := zipped.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, buffer.Bytes(), 0o644)
}

func notice() string {
	var text strings.Builder
	text.WriteString("# Sources\n\nThe gzipped JSON files of this folder are cut from these npm packages by ../openapiprune (go generate).\n\n")
	text.WriteString("| file | package | version | SHA-256 of the package | licence |\n|---|---|---|---|---|\n")
	for _, row := range []struct {
		file string
		source
	}{{"api.json.gz", restSource}, {"webhooks.json.gz", webhookSource}, {"examples.json.gz", examplesSource}} {
		fmt.Fprintf(&text, "| %s | %s | %s | %s | MIT |\n", row.file, row.name, row.version, row.sha256)
	}
	text.WriteString("\n" + strings.TrimSpace(mit) + "\n")
	return text.String()
}

// mit is the licence all three packages carry; its notice travels with the copies.
const mit = `
## MIT License

Copyright (c) 2020 Octokit contributors (https://github.com/octokit)

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation
files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy,
modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice (including the next paragraph) shall be included in all copies or
substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE,
ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
`
