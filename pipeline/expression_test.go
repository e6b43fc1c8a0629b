package pipeline

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

func testScope(t testing.TB) (*scope, map[string]any) {
	t.Helper()
	kinds := map[string]jobs.KindName{"image": jobs.KindBuild, "api-gateway": jobs.KindBuild, "release": jobs.KindDeploy, "odd": ""}
	env, err := environment(kinds, nil)
	if err != nil {
		t.Fatal(err)
	}
	run := jobs.RunInfo{
		ID: "r-1", Repository: jobs.Repository{Owner: "Acme", Name: "Shop", DefaultBranch: "main"}, Event: jobs.EventPullRequest,
		SHA: caseSHA, Ref: "refs/pull/7/head", Branch: "feat/x", PullRequest: 7, BaseBranch: "main", Actor: jobs.Actor{Login: "ada"},
	}
	run.Action = "opened"
	vars := runVariables(run)
	vars["needs"] = needsVariable(jobs.Run{RunInfo: run, Jobs: []jobs.Job{
		{Name: "image", Kind: jobs.KindBuild, State: jobs.JobSucceeded, Outputs: map[string]any{
			"digest": "sha256:aa", "size": float64(12), "seconds": int64(3), "steps": 1.5, "tags": true, "unheard": "of", "ref": "${{ run.sha }}"}},
		{Name: "release", Kind: jobs.KindDeploy, State: jobs.JobFailed, Outputs: map[string]any{"revision": float64(4), "namespace": "tks"}},
	}}, jobs.Job{Needs: []string{"image", "release", "api-gateway"}})
	return &scope{env: env, jobs: kinds, needs: []string{"image", "release", "api-gateway"}, job: "me"}, vars
}

func TestExpressions(t *testing.T) {
	s, vars := testScope(t)
	for _, tt := range []struct {
		text string
		want any // or an error that holds the text
	}{
		{"${{ event.name }}/${{event.action}}", "pull_request/opened"},
		{"${{ repository.full_name.lowerAscii() }}", "acme/shop"},
		{"${{ repository.default_branch }} ${{ repository.owner.upperAscii() }}", "main ACME"},
		{"${{ run.short_sha }}", "0123456789ab"},
		{"${{ pull_request.number + 1 }}", int64(8)},
		{"${{ pull_request.head + '->' + pull_request.base }}", "feat/x->main"},
		{"${{ needs.image.outputs.digest }}", "sha256:aa"},
		{"${{ needs['image'].outputs.size * 2 }}", int64(24)},
		{"${{ needs.image.outputs.seconds }}", 3.0},
		{"${{ needs.release.outputs.revision }} ${{ needs.release.result }}", "4 failure"},
		{"${{ needs.image.outputs.ref }}", "${{ run.sha }}"},
		{`${{ "a,b,c".split(",").join("-") }}`, "a-b-c"},
		{`${{ " a ".trim().replace("a", "bb").substring(0, 1) }}`, "b"},
		{`${{ {"a": 1}.a }}`, int64(1)},
		{`${{ {"a": {"b": "}}"}}.a.b }}`, "}}"},
		{`${{ '}}' + "}}" + r"\" + '''}}''' }}`, `}}}}\}}`},
		{"${{ run.tag == '' ? 1 : 2 }}", int64(1)},
		{"${{ ['a', 'b'].exists(x, x == 'b') }}", true},
		{"${{ size('é') }}", int64(1)},
		{"a ${{ 1.0 }} b ${{ true }}", "a 1 b true"},
		{"$ {{ x }} $${ }", "$ {{ x }} $${ }"},
		// outputs of another type than declared are as if they were not there
		{"${{ needs.image.outputs.steps }}", fmt.Errorf("gave no output steps")},
		{"${{ needs.image.outputs.tags }}", fmt.Errorf("gave no output tags")},
		{"${{ needs.image.outputs.unheard }}", fmt.Errorf(`there is no "unheard"`)},
		{`${{ needs["api-gateway"].outputs.digest }}`, fmt.Errorf("can't be evaluated")},
		{"${{ needs.odd.outputs.x }}", fmt.Errorf("add odd to its needs")},
		{"${{ needs.nope.outputs.x }}", fmt.Errorf(`there is no job "nope"`)},
		{"${{ needs.api-gateway.outputs.digest }}", fmt.Errorf(`write needs["api-gateway"]`)},
		{"${{ needs }}", fmt.Errorf("needs is read as")},
		{"${{ size(needs) }}", fmt.Errorf("needs is read as")},
		{"${{ [needs] }}", fmt.Errorf("needs is read as")},
		{"${{ {'a': needs}.a.image.outputs.digest }}", fmt.Errorf("needs is read as")},
		{"${{ ['needs'].exists(needs, needs == 'a') }}", fmt.Errorf("needs is read as")},
		{"${{ dyn(1) }}", fmt.Errorf("no variable or function")},
		{"${{ type(1) }}", fmt.Errorf("no variable or function")},
		{"${{ bytes('a') }}", fmt.Errorf("no variable or function")},
		{"${{ b'abc' }}", fmt.Errorf("can't be put here")},
		{"${{ int }}", fmt.Errorf("can't be put here")},
		{"${{ run }}", fmt.Errorf("the whole of run")},
		{"x ${{ [1] }}", fmt.Errorf("gives a list")},
		{"${{ 9223372036854775807 + 1 }}", fmt.Errorf("overflow")},
		{"${{ 18446744073709551615u }}", fmt.Errorf("too large")},
		{`${{ "\u0000" }}`, fmt.Errorf("NUL")},
		{`${{ "\x00image" + "x" }}`, fmt.Errorf("NUL")},
		{"${{", fmt.Errorf("never closed")},
		{"${{ 'a }}", fmt.Errorf("never closed")},
		{"${{ }}", fmt.Errorf("empty")},
		{"${{ {'a': 1} }", fmt.Errorf("never closed")},
		{"${{ " + strings.Repeat("1+", maxExpression) + "1 }}", fmt.Errorf("more than 2000")},
		{"${{ " + strings.Repeat("(", 300) + "1" + strings.Repeat(")", 300) + " }}", fmt.Errorf("recursion")},
	} {
		got, err := evaluateAny(s, tt.text, vars)
		if want, ok := tt.want.(error); ok {
			if err == nil || !strings.Contains(err.Error(), want.Error()) {
				t.Errorf("%s: got %v, %v; want an error with %q", shorten(tt.text), got, err, want)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("%s: got %#v, %v; want %#v", shorten(tt.text), got, err, tt.want)
		}
	}
}

func evaluateAny(s *scope, text string, vars map[string]any) (any, error) {
	t, _, problem := s.compileText(text, wantAny)
	if problem != nil {
		return nil, problem
	}
	return s.evaluateText(t, vars)
}

// What an expression may cost is bounded, in time and memory, however it is written.
func TestExpressionBounds(t *testing.T) {
	s, vars := testScope(t)
	long := strings.Repeat("a", 1500)
	list := "[" + strings.TrimSuffix(strings.Repeat("1,", 60), ",") + "]"
	nest := func(depth int) string {
		expr := "x0 > 0"
		for i := range depth {
			expr = fmt.Sprintf("%s.all(x%d, %s)", list, depth-1-i, expr)
		}
		return expr
	}
	for name, text := range map[string]string{
		"replace":       fmt.Sprintf(`"%s".replace("a", "%s")`, long[:900], long[:900]),
		"replace twice": `"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".replace("a", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").replace("a", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").replace("a", "aaaaaaaaa")`,
		"loops":         nest(4),
		"deep loops":    nest(8),
		"doubling":      `"` + strings.Repeat("a", 1000) + `".split("a").join("` + strings.Repeat("b", 900) + `")`,
		"list doubling": strings.Repeat("(", 12) + "[1]" + strings.Repeat("+[1,1,1,1,1,1,1,1,1,1])", 12),
		"many parts":    fmt.Sprintf(`"%s".split("a")`, long),
	} {
		start := time.Now()
		v, err := evaluateAny(s, "${{ "+text+" }}", vars)
		if err == nil {
			t.Errorf("%s: gave %.60v", name, v)
		}
		if took := time.Since(start); took > soon {
			t.Errorf("%s took %v", name, took)
		}
	}
}

// An if gives true or false and nothing else.
func TestCondition(t *testing.T) {
	s, vars := testScope(t)
	for text, want := range map[string]any{
		"true": true, "${{ false }}": false, " ${{ event.name == 'push' }} ": false, "has(pull_request.number)": true,
		"needs.image.result == 'success'": true, "1": "true or false is needed", "${{ true }} x": "one expression", "": "EOF",
	} {
		got, err := s.resolveIf(text, vars)
		if message, ok := want.(string); ok {
			if err == nil || message != "EOF" && !strings.Contains(err.Error(), message) {
				t.Errorf("%q: got %v, %v; want an error with %q", text, got, err, message)
			}
		} else if err != nil || got != want {
			t.Errorf("%q: got %v, %v; want %v", text, got, err, want)
		}
	}
}

func FuzzExpression(f *testing.F) {
	for _, text := range []string{
		"${{ needs['api-gateway'].outputs.digest }}", "a ${{ run.sha.substring(0, 3) }} b", `${{ {"a": [1, 2.5, null]} }}`,
		"${{ [1].all(x, x > 0) ? r'\\' : '''}}''' }}", "${{ has(pull_request.number) && pull_request.number > 3u }}", "${{ needs.image.outputs }}",
		"${{ -9223372036854775808 / -1 }}", "${{ needs.image[`x`] }}", "${{ .run.sha }}", "${{ slipway run{} }}",
	} {
		f.Add(text)
	}
	s, vars := testScope(f)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > maxText || !resolved(text) { // refused when the file is read
			return
		}
		parsed, _, problem := s.compileText(text, wantAny)
		if problem != nil {
			return
		}
		first, err := s.evaluateText(parsed, vars)
		second, err2 := s.evaluateText(parsed, vars)
		if (err == nil) != (err2 == nil) || fmt.Sprint(first) != fmt.Sprint(second) {
			t.Errorf("%q gives %v, %v and then %v, %v", text, first, err, second, err2)
		}
		if s, ok := first.(string); ok && (len(s) > 2*maxText || !resolved(s)) {
			t.Errorf("%q gives a text that can't be recorded", text)
		}
	})
}
