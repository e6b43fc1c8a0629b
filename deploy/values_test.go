package deploy

import (
	"reflect"
	"strings"
	"testing"
)

type m = map[string]any

func TestLoadValues(t *testing.T) {
	root := tree(t, map[string]string{
		"a.yaml": "image: {repository: r, tag: one}\nlist: [1]\n",
		"b.yaml": "image: {tag: two}\n---\nextra: yes-please\n",
	})
	got, f := loadValues(root, []string{"a.yaml", "./b.yaml"}, m{
		"image.digest":               "sha256:00",
		"branch":                     "x,securityContext.privileged=true",
		"braces":                     "{a,b}",
		"template":                   "{{ .Values.secret }}",
		`annotations.example\.com/x`: "y",
		`back\\slash`:                true,
		"count":                      int64(9007199254740993),
		"nothing":                    nil,
		"deep":                       m{"a": []any{m{"b": 1.5}}},
	}, m{"image": m{"tag": "zero"}, "securityContext": m{"privileged": false}})
	if f != nil {
		t.Fatal(f.Sentence)
	}
	want := m{
		"image":       m{"repository": "r", "tag": "two", "digest": "sha256:00"},
		"list":        []any{float64(1)},
		"extra":       "yes-please",
		"branch":      "x,securityContext.privileged=true",
		"braces":      "{a,b}",
		"template":    "{{ .Values.secret }}",
		"annotations": m{"example.com/x": "y"},
		`back\slash`:  true,
		"count":       int64(9007199254740993),
		"nothing":     nil,
		"deep":        m{"a": []any{m{"b": 1.5}}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %#v\nwant %#v", got, want)
	}
}

func TestLoadValuesRefused(t *testing.T) {
	for _, tc := range []struct {
		name     string
		files    []string
		set      m
		defaults m
		want     string
	}{
		{"file absent", []string{"none.yaml"}, nil, nil, "none.yaml does not exist"},
		{"file outside", []string{"../../etc/passwd"}, nil, nil, "leads out of the repository"},
		{"file linked outside", []string{"out.yaml"}, nil, nil, "out.yaml leads out of the repository"},
		{"not YAML", []string{"broken.yaml"}, nil, nil, "broken.yaml is not YAML"},
		{"a list", []string{"list.yaml"}, nil, nil, "list.yaml is not YAML that Helm accepts"},
		{"too large", []string{"big.yaml"}, nil, nil, "exceeds the limit"},
		{"through a string of a file", []string{"image.yaml"}, m{"image.digest": "x"}, nil, `set key "image.digest" can't be used: image is a string in the values, not a table that could hold digest`},
		{"through a default", nil, m{"a.b.c": 1}, m{"a": m{"b": []any{}}}, "a.b is a list"},
		{"over a table", nil, m{"image": "x"}, m{"image": m{"tag": "y"}}, "image is a table in the values, a string can't replace it"},
		{"two keys at odds", nil, m{"a": 1, "a.b": 2}, nil, `set key "a.b" can't be used: a is a number`},
		{"empty name", nil, m{"a..b": 1}, nil, "empty"},
		{"no name", nil, m{"": 1}, nil, "empty"},
		{"list position", nil, m{"containers[0].name": "x"}, nil, "positions in lists"},
		{"too deep", nil, m{strings.Repeat("a.", maxSetDepth) + "a": 1}, nil, "more than 20 names deep"},
		{"foreign type", nil, m{"a": struct{}{}}, nil, "struct {}"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := tree(t, map[string]string{
				"broken.yaml": "a: [", "list.yaml": "[1, 2]", "image.yaml": "image: nginx\n",
				"out.yaml": "-> /etc/passwd", "big.yaml": "a: " + strings.Repeat("x", maxValuesBytes),
			})
			_, f := loadValues(root, tc.files, tc.set, tc.defaults)
			if f == nil {
				t.Fatal("accepted")
			}
			if f.Reason != ReasonValuesInvalid || !strings.Contains(f.Sentence, tc.want) {
				t.Fatalf("%s: %q does not say %q", f.Reason, f.Sentence, tc.want)
			}
		})
	}
}

func TestSetDoesNotTouchTheCallersMaps(t *testing.T) {
	mine := m{"b": 1}
	values := m{}
	if err := setValue(values, nil, "a", mine); err != nil {
		t.Fatal(err)
	}
	if err := setValue(values, nil, "a.c", 2); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(mine, m{"b": 1}) {
		t.Errorf("the caller's map became %v", mine)
	}
	if want := (m{"a": m{"b": 1, "c": 2}}); !reflect.DeepEqual(values, want) {
		t.Errorf("got %v, want %v", values, want)
	}
}

// FuzzSetValue: any key is refused or leads, name by name, to exactly the value.
func FuzzSetValue(f *testing.F) {
	for _, key := range []string{"image.digest", `a\.b.c`, `\\`, "..", "a[0]", "x,y=z", "{a}"} {
		f.Add(key, "x,securityContext.privileged=true")
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		values := m{}
		if setValue(values, nil, key, value) != nil {
			return
		}
		names, err := splitKey(key)
		if err != nil {
			t.Fatalf("set, but its key is refused: %v", err)
		}
		at := values
		for _, name := range names[:len(names)-1] {
			if len(at) != 1 {
				t.Fatalf("%q made %d keys", key, len(at))
			}
			at = at[name].(m)
		}
		if len(at) != 1 || at[names[len(names)-1]] != value {
			t.Fatalf("%q led to %v, not to %q", key, at, value)
		}
	})
}
