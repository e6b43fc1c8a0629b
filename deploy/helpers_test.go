package deploy

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// testWriter passes what is written on to the test's log, until the test ends.
type testWriter struct {
	t    testing.TB
	mu   sync.Mutex
	done bool
	text strings.Builder
}

func newTestWriter(t testing.TB) *testWriter {
	w := &testWriter{t: t}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.done = true
	})
	return w
}

func (w *testWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(p)
	if !w.done {
		w.t.Log(strings.TrimRight(string(p), "\n"))
	}
	return len(p), nil
}

func (w *testWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(newTestWriter(t), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// tree writes files (path → content) below a new folder and opens it as a root. A
// content that begins with "-> " makes a symbolic link.
func tree(t *testing.T, files map[string]string) *os.Root {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		full := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, link := strings.CutPrefix(content, "-> "); link {
			err = os.Symlink(target, full)
		} else {
			err = os.WriteFile(full, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

const chartYAML = "apiVersion: v2\nname: shop\nversion: 1.0.0\n"

// chartTree is a chart at charts/shop with more files added to it.
func chartTree(t *testing.T, more map[string]string) *os.Root {
	t.Helper()
	files := map[string]string{"charts/shop/Chart.yaml": chartYAML}
	maps.Copy(files, more)
	return tree(t, files)
}

func testOwner() Owner {
	return Owner{Repository: "acme/shop", RepositoryID: 7, Run: "run-1", Job: "release", Attempt: 1, SHA: strings.Repeat("ab", 20)}
}
