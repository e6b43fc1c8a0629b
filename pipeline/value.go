package pipeline

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// evaluate computes an expression once. What it gives is a value and is never looked at for expressions again.
// Its errors are clauses for people.
func (s *scope) evaluate(e *expression, vars map[string]any) (any, error) {
	program, err := s.env.Program(e.ast, cel.CostLimit(costLimit), cel.EvalOptions(cel.OptTrackCost))
	if err != nil {
		return nil, fmt.Errorf("%s can't be evaluated: %s", shorten(e.text), shorten(err.Error()))
	}
	out, _, err := program.Eval(vars)
	if err != nil {
		return nil, fmt.Errorf("%s can't be evaluated: %s", shorten(e.text), plainly(err.Error()))
	}
	v, err := native(out, 0)
	if err != nil {
		return nil, fmt.Errorf("%s gives %w", shorten(e.text), err)
	}
	return v, nil
}

// native turns a CEL value into what JSON can hold: nil, bool, int64, float64, string, []any, map[string]any.
func native(v ref.Val, depth int) (any, error) {
	if depth > 5 {
		return nil, fmt.Errorf("a value nested too deep")
	}
	switch v := v.(type) {
	case types.Null:
		return nil, nil
	case types.Bool:
		return bool(v), nil
	case types.Int:
		return int64(v), nil
	case types.Uint:
		if v > math.MaxInt64 {
			return nil, fmt.Errorf("a number that is too large")
		}
		return int64(v), nil
	case types.Double:
		if f := float64(v); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f, nil
		}
		return nil, fmt.Errorf("a number that is not finite")
	case types.String:
		switch s := string(v); {
		case len(s) > maxText:
			return nil, fmt.Errorf("a text of %d bytes, more than %d", len(s), maxText)
		case !utf8.ValidString(s) || strings.ContainsRune(s, 0):
			return nil, fmt.Errorf("a text that is not UTF-8 or holds a NUL character")
		default:
			return s, nil
		}
	case traits.Mapper:
		return nativeMap(v, depth)
	case traits.Lister:
		size, _ := v.Size().(types.Int)
		if size < 0 || size > maxItems {
			return nil, fmt.Errorf("a list of more than %d values", maxItems)
		}
		list := make([]any, size)
		for i := range list {
			item, err := native(v.Get(types.Int(i)), depth+1)
			if err != nil {
				return nil, err
			}
			list[i] = item
		}
		return list, nil
	}
	return nil, fmt.Errorf("a value of type %s, which can't be put here", v.Type().TypeName())
}

func nativeMap(v traits.Mapper, depth int) (any, error) {
	if size, _ := v.Size().(types.Int); size < 0 || size > maxItems {
		return nil, fmt.Errorf("a mapping of more than %d values", maxItems)
	}
	m := map[string]any{}
	for it := v.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		name, ok := key.(types.String)
		if !ok {
			return nil, fmt.Errorf("a mapping with keys that are not text")
		}
		// In a template such a key marks a text to be evaluated (resolve.go): no value may make one.
		if strings.Contains(string(name), exprOpen) {
			return nil, fmt.Errorf("a mapping with a key that holds ${{")
		}
		value, err := native(v.Get(key), depth+1)
		if err != nil {
			return nil, err
		}
		m[string(name)] = value
	}
	return m, nil
}

// asText writes a value into text.
func asText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		format := byte('f') // 1000000.5 is not to become 1e+06
		if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e15) {
			format = 'g'
		}
		return strconv.FormatFloat(v, format, -1, 64), nil
	}
	return "", fmt.Errorf("only text, numbers, true and false can stand in text")
}
