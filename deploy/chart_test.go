package deploy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestLoadChartRefused(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("password: hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	many := map[string]string{}
	for i := range maxChartFiles + 1 {
		many[fmt.Sprintf("charts/shop/files/%d", i)] = ""
	}
	for _, tc := range []struct {
		name  string
		chart string
		files map[string]string
		want  string
	}{
		{"absent", "charts/other", nil, "charts/other does not exist at this commit"},
		{"climbs out", "../shop", nil, "leads out of the repository"},
		{"absolute", "/etc", nil, "leads out of the repository"},
		{"file linked out", "charts/shop", map[string]string{"charts/shop/templates/x.yaml": "-> " + outside}, "charts/shop/templates/x.yaml leads out of the repository"},
		{"file linked out by a relative path", "charts/shop", map[string]string{"charts/shop/values.yaml": "-> ../../../../../etc/passwd"}, "leads out of the repository"},
		{"folder linked out", "charts/shop", map[string]string{"charts/shop/templates": "-> /etc"}, "leads out of the repository"},
		{"chart linked out", "charts/evil", map[string]string{"charts/evil": "-> /etc"}, "leads out of the repository"},
		{"ignore file linked out", "charts/shop", map[string]string{"charts/shop/.helmignore": "-> " + outside}, "leads out of the repository"},
		{"link in a circle", "charts/shop", map[string]string{"charts/shop/loop": "-> ."}, "too many levels of symbolic links"},
		{"too deep", "charts/shop", map[string]string{"charts/shop/" + strings.Repeat("d/", maxChartDepth+1) + "f": ""}, "nested more than 20 deep"},
		{"too many files", "charts/shop", many, "more than 5000 files"},
		{"too large", "charts/shop", map[string]string{"charts/shop/big": strings.Repeat("x", maxChartBytes)}, "exceeds the limit"},
		{"no Chart.yaml", "charts", nil, "Chart.yaml file is missing"},
		{"neither folder nor archive", "charts/shop/Chart.yaml", nil, "charts/shop/Chart.yaml"},
		{"library", "charts/shop", map[string]string{"charts/shop/Chart.yaml": chartYAML + "type: library\n"}, `of type "library"`},
		{"dependency not vendored", "charts/shop", map[string]string{"charts/shop/Chart.yaml": chartYAML + "dependencies: [{name: redis, version: 1.x, repository: \"https://charts.example.com\"}]\n"}, "helm dependency build charts/shop"},
		{"packed dependency too large", "charts/shop", map[string]string{"charts/shop/charts/bomb-1.tgz": bomb(t)}, "exceeds the limit"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, f := loadChart(chartTree(t, tc.files), tc.chart)
			if f == nil {
				t.Fatal("loaded")
			}
			if f.Reason != ReasonChartInvalid || !strings.Contains(f.Sentence, tc.want) {
				t.Fatalf("%s: %q does not say %q", f.Reason, f.Sentence, tc.want)
			}
			if strings.Contains(f.Sentence, "hunter2") || strings.Contains(f.Sentence, "root:") {
				t.Fatalf("the sentence shows what lies outside: %q", f.Sentence)
			}
		})
	}
}

// bomb is an archive that unpacks to more than a chart may have.
func bomb(t *testing.T) string {
	t.Helper()
	return packed(t, "bomb/values.yaml", strings.Repeat("\x00", maxChartBytes+1))
}

// packed makes an archive of files: name, content, name, content.
func packed(t *testing.T, files ...string) string {
	t.Helper()
	var archive bytes.Buffer
	tw := tar.NewWriter(&archive)
	for i := 0; i < len(files); i += 2 {
		if err := tw.WriteHeader(&tar.Header{Name: files[i], Size: int64(len(files[i+1])), Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return zipped(t, archive.Bytes())
}

func zipped(t *testing.T, data []byte) string {
	t.Helper()
	var zip bytes.Buffer
	zw := gzip.NewWriter(&zip)
	if _, err := zw.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return zip.String()
}

// sparse is an archive of one file that takes a block in it, and size bytes when unpacked.
// https://www.gnu.org/software/tar/manual/html_node/Standard.html has the header's form.
func sparse(t *testing.T, size int64) string {
	t.Helper()
	var b [3 * 512]byte // the header; the end
	octal := func(at, width int, n int64) { copy(b[at:], fmt.Sprintf("%0*o", width-1, n)) }
	copy(b[:], "big/values.yaml")
	octal(100, 8, 0o600)
	octal(124, 12, 0) // bytes stored
	b[156] = 'S'
	copy(b[257:], "ustar  \x00")
	octal(386, 12, size) // the first of the map: nothing stored, at the end
	octal(398, 12, 0)
	octal(483, 12, size)
	copy(b[148:], "        ")
	sum := int64(0)
	for _, c := range b[:512] {
		sum += int64(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	if file, err := tar.NewReader(bytes.NewReader(b[:])).Next(); err != nil || file.Size != size {
		t.Fatalf("%+v, %v", file, err)
	}
	return zipped(t, b[:])
}

// Each subchart alone is small enough for Helm, all together are not for us.
func TestPackedChartsShareOneLimit(t *testing.T) {
	const chartFile = "apiVersion: v2\nversion: 1.0.0\nname: "
	third := strings.Repeat("\x00", maxChartBytes/3)
	sub := packed(t, "sub/Chart.yaml", chartFile+"sub\n", "sub/big", third)
	of := func(where string, subs int) string {
		files := []string{"shop/Chart.yaml", chartFile + "shop\n"}
		for n := range subs {
			files = append(files, fmt.Sprintf(where, n), sub)
		}
		return packed(t, files...)
	}
	nested := packed(t, "a/Chart.yaml", chartFile+"a\n")
	for range maxChartDepth + 1 {
		nested = packed(t, "a/Chart.yaml", chartFile+"a\n", "a/charts/a.tgz", nested)
	}
	many := []string{"shop/Chart.yaml", chartFile + "shop\n"}
	for n := range maxChartFiles {
		many = append(many, fmt.Sprintf("shop/%d", n), "")
	}
	for _, tc := range []struct {
		name, archive string
		want          string // empty: accepted
	}{
		{"two", of("shop/charts/sub%d.tgz", 2), ""},
		{"three", of("shop/charts/sub%d.tgz", 3), "exceeds the limit"},
		{"three, of a subchart that is a folder", of("shop/charts/a/charts/sub%d.tgz", 3), "exceeds the limit"},
		{"three, named as on Windows", of(`shop\charts\sub%d.tgz`, 3), "exceeds the limit"},
		{"three that Helm doesn't unpack", of("shop/files/sub%d.tgz", 3), ""},
		{"three that Helm leaves out", of("shop/charts/._sub%d.tgz", 3), ""},
		{"one within another, too deep", nested, "packed into one another more than 20 deep"},
		{"sparse", sparse(t, maxChartBytes), "without sparse files"},
		{"a sparse subchart", packed(t, "shop/Chart.yaml", chartFile+"shop\n", "shop/charts/big.tgz", sparse(t, maxChartBytes)), "without sparse files"},
		{"too many files", packed(t, many...), "more than 5000 files"},
		{"no archive within", packed(t, "shop/Chart.yaml", chartFile+"shop\n", "shop/charts/x.tgz", "x"), "shop/charts/x.tgz"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, f := loadChart(tree(t, map[string]string{"shop.tgz": tc.archive}), "shop.tgz")
			switch {
			case tc.want == "" && f != nil:
				t.Errorf("refused: %s", f.Sentence)
			case tc.want != "" && (f == nil || f.Reason != ReasonChartInvalid || !strings.Contains(f.Sentence, tc.want)):
				t.Errorf("%+v does not say %q", f, tc.want)
			}
		})
	}
}

func TestLoadChartDoesNotOpenPipes(t *testing.T) {
	root := chartTree(t, nil)
	if err := syscall.Mkfifo(filepath.Join(root.Name(), "charts/shop/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, f := loadChart(root, "charts/shop"); f == nil || !strings.Contains(f.Sentence, "not a regular file") {
		t.Fatalf("got %+v", f)
	}
}

func TestLoadChart(t *testing.T) {
	root := chartTree(t, map[string]string{
		"charts/shop/Chart.yaml":              chartYAML + "dependencies: [{name: common, version: 1.0.0}]\n",
		"charts/shop/values.yaml":             "\xEF\xBB\xBFreplicas: 2\n",
		"charts/shop/templates/a.yaml":        "a: 1\n",
		"charts/shop/templates/b.yaml":        "-> ../../../shared/b.yaml",
		"charts/shop/charts/common":           "-> ../../../shared/common",
		"charts/shop/ci/secret.yaml":          "ignored",
		"charts/shop/.helmignore":             "ci/\n",
		"shared/b.yaml":                       "b: 1\n",
		"shared/common/Chart.yaml":            "apiVersion: v2\nname: common\nversion: 1.0.0\ntype: library\n",
		"shared/common/templates/_helper.tpl": "{{/* nothing */}}",
	})
	c, f := loadChart(root, "./charts/../charts/shop/")
	if f != nil {
		t.Fatal(f.Sentence)
	}
	var templates []string
	for _, tpl := range c.Templates {
		templates = append(templates, tpl.Name+"="+strings.TrimSpace(string(tpl.Data)))
	}
	slices.Sort(templates)
	if got, want := strings.Join(templates, " "), "templates/a.yaml=a: 1 templates/b.yaml=b: 1"; got != want {
		t.Errorf("templates %q, want %q", got, want)
	}
	if len(c.Dependencies()) != 1 || c.Dependencies()[0].Name() != "common" {
		t.Errorf("dependencies %v", c.Dependencies())
	}
	if c.Values["replicas"] != float64(2) {
		t.Errorf("values %v", c.Values)
	}
	for _, file := range c.Files {
		if strings.HasPrefix(file.Name, "ci/") {
			t.Errorf("%s is in .helmignore and was loaded", file.Name)
		}
	}
}
