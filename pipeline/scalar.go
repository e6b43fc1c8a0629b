package pipeline

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
)

// The forms of plain scalars in YAML 1.2's core schema (yaml.org/spec/1.2.2, section 10.3.2). So yes, no, on and off
// are text.
var (
	intForm   = regexp.MustCompile(`^[-+]?[0-9]+$`)
	octalForm = regexp.MustCompile(`^0o[0-7]+$`)
	hexForm   = regexp.MustCompile(`^0x[0-9a-fA-F]+$`)
	floatForm = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
	nonFinite = regexp.MustCompile(`^([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)
	oldOctal  = regexp.MustCompile(`^[-+]?0[0-9]+$`)
)

// coreScalar reads a plain scalar. What other YAML readers would read otherwise is refused, not guessed.
func coreScalar(s string) (any, error) {
	switch s {
	case "", "~", "null", "Null", "NULL":
		return nil, nil
	case "true", "True", "TRUE":
		return true, nil
	case "false", "False", "FALSE":
		return false, nil
	}
	switch c := s[0]; {
	case c >= '0' && c <= '9', c == '-', c == '+', c == '.':
	default:
		return s, nil
	}
	var n int64
	var err error
	switch {
	case oldOctal.MatchString(s):
		return nil, fmt.Errorf("%s is octal to some readers and decimal to others: write it in quotes, or without the leading zero", s)
	case intForm.MatchString(s):
		n, err = strconv.ParseInt(s, 10, 64)
	case octalForm.MatchString(s):
		n, err = strconv.ParseInt(s[2:], 8, 64)
	case hexForm.MatchString(s):
		n, err = strconv.ParseInt(s[2:], 16, 64)
	case floatForm.MatchString(s):
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsInf(f, 0) {
			return nil, fmt.Errorf("the number %.40s is too large: write it in quotes", s)
		}
		return f, nil
	case nonFinite.MatchString(s):
		return nil, fmt.Errorf("%s is not a number that can be passed on: write it in quotes", s)
	default:
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the number %.40s is too large: write it in quotes", s)
	}
	return n, nil
}
