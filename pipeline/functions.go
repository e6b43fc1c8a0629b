package pipeline

import (
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/slipway-ci/slipway/jobs"
)

// costLimit bounds the work of one evaluation, in CEL's units (about one an operation, and one for ten characters).
const costLimit = 10_000

// baseEnvironment is CEL without variables: the standard library less what can grow without bound or has no use here
// (regular expressions, times, bytes, dynamic types, map and filter), and a few functions on text whose results are
// bounded before they are made. It never changes once it is made.
var baseEnvironment = sync.OnceValues(func() (*cel.Env, error) {
	subset := env.NewLibrarySubset().AddExcludedMacros("map", "filter")
	for _, name := range []string{
		"matches", "timestamp", "duration", "bytes", "dyn", "type",
		"getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours", "getMilliseconds",
		"getMinutes", "getMonth", "getSeconds",
	} {
		subset.AddExcludedFunctions(env.NewFunction(name))
	}
	text, texts := cel.StringType, cel.ListType(cel.StringType)
	return cel.NewCustomEnv(
		cel.StdLib(cel.StdLibSubset(subset)),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ParserRecursionLimit(50),
		cel.ExpressionNodeLimit(5000),
		member("lowerAscii", []*cel.Type{text}, text, func(a []ref.Val) ref.Val { return bounded(asciiLower(str(a[0]))) }),
		member("upperAscii", []*cel.Type{text}, text, func(a []ref.Val) ref.Val { return bounded(asciiUpper(str(a[0]))) }),
		member("trim", []*cel.Type{text}, text, func(a []ref.Val) ref.Val { return bounded(strings.TrimSpace(str(a[0]))) }),
		member("replace", []*cel.Type{text, text, text}, text, func(a []ref.Val) ref.Val {
			return replace(str(a[0]), str(a[1]), str(a[2]))
		}),
		member("substring", []*cel.Type{text, cel.IntType, cel.IntType}, text, func(a []ref.Val) ref.Val {
			return substring(str(a[0]), a[1].(types.Int), a[2].(types.Int))
		}),
		member("split", []*cel.Type{text, text}, texts, func(a []ref.Val) ref.Val { return split(str(a[0]), str(a[1])) }),
		member("join", []*cel.Type{texts, text}, text, func(a []ref.Val) ref.Val { return joinList(a[0], str(a[1])) }),
	)
})

// member declares a function that is called as target.name(...).
func member(name string, args []*cel.Type, gives *cel.Type, do func([]ref.Val) ref.Val) cel.EnvOption {
	return cel.Function(name, cel.MemberOverload("slipway_"+name, args, gives, cel.FunctionBinding(func(a ...ref.Val) ref.Val {
		return do(a)
	})))
}

func str(v ref.Val) string {
	s, _ := v.(types.String)
	return string(s)
}

// bounded gives a text, or an error when it is too long to be meant.
func bounded(s string) ref.Val {
	if len(s) > maxText {
		return tooLong(len(s))
	}
	return types.String(s)
}

func tooLong(n int) ref.Val {
	return types.NewErr("the text would have %d bytes, more than %d", n, maxText)
}

func replace(s, old, with string) ref.Val {
	if old == "" {
		return types.NewErr("replace: the text to be replaced is empty")
	}
	n := len(s) + strings.Count(s, old)*(len(with)-len(old))
	if n > maxText {
		return tooLong(n)
	}
	return types.String(strings.ReplaceAll(s, old, with))
}

func substring(s string, from, to types.Int) ref.Val {
	runes := []rune(s)
	if from < 0 || to < from || int64(to) > int64(len(runes)) {
		return types.NewErr("substring(%d, %d) reaches outside of a text of %d characters", from, to, len(runes))
	}
	return types.String(runes[from:to])
}

func split(s, separator string) ref.Val {
	if separator == "" {
		return types.NewErr("split: the separator is empty")
	}
	parts := strings.SplitN(s, separator, maxItems+1)
	if len(parts) > maxItems {
		return types.NewErr("split gives more than %d parts", maxItems)
	}
	return types.DefaultTypeAdapter.NativeToValue(parts)
}

func joinList(list ref.Val, separator string) ref.Val {
	l, ok := list.(traits.Lister)
	if !ok {
		return types.MaybeNoSuchOverloadErr(list)
	}
	size, _ := l.Size().(types.Int)
	if size < 0 || size > maxItems {
		return types.NewErr("join takes at most %d texts", maxItems)
	}
	var b strings.Builder
	for i := range size {
		s, ok := l.Get(i).(types.String)
		if !ok {
			return types.NewErr("join takes texts")
		}
		if i > 0 {
			b.WriteString(separator)
		}
		b.WriteString(string(s))
		if b.Len() > maxText {
			return tooLong(b.Len())
		}
	}
	return types.String(b.String())
}

func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func asciiUpper(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, s)
}

// environment is CEL with the variables of a pipeline's jobs, and the given jobs as needs. Without args there is no variable
// of that name.
func environment(kinds map[string]jobs.KindName, args map[string]*cel.Type) (*cel.Env, error) {
	p, err := newProvider(kinds, args)
	if err != nil {
		return nil, err
	}
	if args == nil {
		return extend(p, "event", "repository", "run", "pull_request", "needs")
	}
	return extend(p, "event", "repository", "run", "pull_request", "needs", "args")
}

// laterEnvironment is environment for a run that was planned: its arguments have values, and those of other commands than the
// one that started it have none.
func laterEnvironment(kinds map[string]jobs.KindName, values map[string]any) (*cel.Env, error) {
	args := map[string]*cel.Type{}
	for name, v := range values {
		args[name] = valueType(v)
	}
	p, err := newProvider(kinds, args)
	if err != nil {
		return nil, err
	}
	p.anyArg = true
	return extend(p, "event", "repository", "run", "pull_request", "needs", "args")
}

// repositoryEnvironment is CEL with the repository alone, for the operator's patterns.
func repositoryEnvironment() (*cel.Env, error) {
	p, err := newProvider(nil, nil)
	if err != nil {
		return nil, err
	}
	return extend(p, "repository")
}

func extend(p *provider, variables ...string) (*cel.Env, error) {
	base, err := baseEnvironment()
	if err != nil {
		return nil, fmt.Errorf("make the CEL environment: %w", err)
	}
	options := []cel.EnvOption{cel.CustomTypeProvider(p)}
	for _, name := range variables {
		options = append(options, cel.Variable(name, objectType(name)))
	}
	e, err := base.Extend(options...)
	if err != nil {
		return nil, fmt.Errorf("make the CEL environment: %w", err)
	}
	return e, nil
}
