package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// TestRepositoryConfig: config.yaml at the repository's root loads, and shows every key there is.
func TestRepositoryConfig(t *testing.T) {
	data, err := os.ReadFile("../../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	secret := []byte("secret\n")
	for name, content := range map[string][]byte{
		"config.yaml": data, "registry.password": secret, "app.pem": secret, "webhook.secret": secret, "staging.kubeconfig": secret,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := LoadConfig(filepath.Join(dir, "config.yaml")); err != nil {
		t.Error(err)
	}
	for _, key := range keys(reflect.TypeFor[Config]()) {
		if !regexp.MustCompile(`(?m)(^|[ {#])` + key + `:`).Match(data) {
			t.Errorf("config.yaml does not show the key %s", key)
		}
	}
}

// keys lists the YAML keys of a struct and of all it holds.
func keys(typ reflect.Type) (list []string) {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Map || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct {
		return nil
	}
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "-" || !f.IsExported() {
			continue
		}
		if name != "" {
			list = append(list, name)
		}
		list = append(list, keys(f.Type)...)
	}
	return list
}
