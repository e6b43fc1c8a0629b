package deploy

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"os"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/v2/loader"
)

const (
	maxValuesFiles = 50
	maxSetKeys     = 200
	maxSetDepth    = 20
)

// loadValues merges the values files in order and the set keys over them. defaults are
// the chart's own values; they are only looked at, to find keys of the wrong shape.
func loadValues(root *os.Root, files []string, set, defaults map[string]any) (map[string]any, *Failure) {
	if len(files) > maxValuesFiles {
		return nil, fail(ReasonValuesInvalid, "There are %d values files; at most %d are read.", len(files), maxValuesFiles)
	}
	values := map[string]any{}
	for _, name := range files {
		name = path.Clean(name)
		data, err := readBounded(root, name, maxValuesBytes)
		if err != nil {
			return nil, fail(ReasonValuesInvalid, "The values file %s can't be read: %s.", clip(name, 200), pathCause(err))
		}
		one, err := loader.LoadValues(bytes.NewReader(data))
		if err != nil {
			return nil, fail(ReasonValuesInvalid, "The values file %s is not YAML that Helm accepts: %s.", clip(name, 200), clip(err.Error(), maxCause))
		}
		values = loader.MergeMaps(values, one)
	}
	if len(set) > maxSetKeys {
		return nil, fail(ReasonValuesInvalid, "set has %d keys; at most %d are taken. Put them into a values file.", len(set), maxSetKeys)
	}
	for _, key := range slices.Sorted(maps.Keys(set)) {
		if err := setValue(values, defaults, key, set[key]); err != nil {
			return nil, fail(ReasonValuesInvalid, "set key %q can't be used: %s.", clip(key, 100), err)
		}
	}
	return values, nil
}

// setValue puts v at the dotted path key. What is there already, in values or in the
// chart's defaults, must have the shape the path implies: Helm itself would drop one of
// the two with no more than a warning.
func setValue(values, defaults map[string]any, key string, v any) error {
	names, err := splitKey(key)
	if err != nil {
		return err
	}
	v, err = plainValue(v, 0)
	if err != nil {
		return err
	}
	at, shape := values, defaults
	for i, name := range names {
		here := strings.Join(names[:i+1], ".")
		existing := at[name]
		if existing == nil {
			existing = shape[name]
		}
		_, isTable := existing.(map[string]any)
		if i == len(names)-1 {
			if _, setsTable := v.(map[string]any); isTable && !setsTable && v != nil {
				return fmt.Errorf("%s is a table in the values, a %s can't replace it; set one of its keys", here, kindOf(v))
			}
			at[name] = v
			return nil
		}
		if existing != nil && !isTable {
			return fmt.Errorf("%s is a %s in the values, not a table that could hold %s", here, kindOf(existing), names[i+1])
		}
		next, ok := at[name].(map[string]any)
		if !ok {
			next = map[string]any{}
		}
		next = maps.Clone(next)
		at[name] = next
		at = next
		shape, _ = shape[name].(map[string]any)
	}
	return nil
}

// splitKey cuts a dotted path; `\.` is a dot within a name and `\\` a backslash.
func splitKey(key string) ([]string, error) {
	var names []string
	var name strings.Builder
	for i := 0; i < len(key); i++ {
		switch c := key[i]; {
		case c == '\\' && i+1 < len(key) && (key[i+1] == '.' || key[i+1] == '\\'):
			i++
			name.WriteByte(key[i])
		case c == '.':
			names = append(names, name.String())
			name.Reset()
		case c == '[':
			return nil, fmt.Errorf("positions in lists can't be set; put the list into a values file")
		default:
			name.WriteByte(c)
		}
	}
	names = append(names, name.String())
	if slices.Contains(names, "") {
		return nil, fmt.Errorf("a name between two dots is empty")
	}
	if len(names) > maxSetDepth {
		return nil, fmt.Errorf("it is more than %d names deep", maxSetDepth)
	}
	return names, nil
}

// plainValue accepts what JSON can hold, keeps its type, and copies maps and lists so
// that Helm's changes stay within one rollout.
func plainValue(v any, depth int) (any, error) {
	if depth > maxSetDepth {
		return nil, fmt.Errorf("its value is nested more than %d deep", maxSetDepth)
	}
	switch v := v.(type) {
	case nil, string, bool, int, int32, int64, uint, uint32, uint64:
		return v, nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("its value is not a finite number")
		}
		return v, nil
	case []any:
		out := make([]any, len(v))
		for i := range v {
			var err error
			if out[i], err = plainValue(v[i], depth+1); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			var err error
			if out[k], err = plainValue(v[k], depth+1); err != nil {
				return nil, err
			}
		}
		return out, nil
	default:
		return nil, fmt.Errorf("its value has the type %T, which values can't hold", v)
	}
}

func kindOf(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case []any:
		return "list"
	default:
		return "number"
	}
}
