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
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	tw := tar.NewWriter(zw)
	if err := tw.WriteHeader(&tar.Header{Name: "bomb/values.yaml", Size: maxChartBytes + 1, Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	if _, err := tw.Write(make([]byte, maxChartBytes+1)); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.String()
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
