package jobs

import (
	"strings"
	"testing"
)

func TestScopeOfCommands(t *testing.T) {
	writers, readers := DefaultCommandPolicy("ship"), CommandPolicy{Role: "read"}
	team, maintainers, nobody := CommandPolicy{Teams: []string{"acme/sre"}}, CommandPolicy{Role: "maintain", Users: []string{"alice"}}, CommandPolicy{}
	either := CommandPolicy{Role: "write", Teams: []string{"acme/sre"}}
	all, named, another := &Scope{}, &Scope{Commands: []string{"greet", "ship"}}, &Scope{Commands: []string{"greet"}}
	for name, c := range map[string]struct {
		scope  *Scope
		policy CommandPolicy
		says   string // "": it may be given
	}{
		"the operator":                      {nil, team, ""},
		"the operator, kept from all":       {nil, nobody, ""},
		"what writers may give":             {all, writers, ""},
		"what readers may give":             {all, readers, ""},
		"what writers or a team may give":   {all, either, ""},
		"kept for a team":                   {all, team, "slipway token create --commands ship"},
		"kept for a role":                   {all, maintainers, "keeps the command `ship` for some people"},
		"kept from all":                     {all, nobody, "lets nobody use"},
		"named":                             {named, writers, ""},
		"named, kept for a team":            {named, team, ""},
		"named, kept for a role":            {named, maintainers, ""},
		"named, kept from all":              {named, nobody, "lets nobody use"},
		"others are named":                  {another, writers, "not for the command `ship`, but for greet"},
		"others are named, kept for a team": {another, team, "not for the command `ship`, but for greet"},
	} {
		got := c.scope.refuseCommand("ship", c.policy)
		if !strings.Contains(got, c.says) || (c.says == "") != (got == "") {
			t.Errorf("%s: %q, want %q", name, got, c.says)
		}
	}
}

func TestScopeOfPlans(t *testing.T) {
	plan := Plan{Jobs: []PlannedJob{
		{Name: "image", Kind: KindBuild, Planned: true}, {Name: "ready", Kind: KindAwait, Planned: true},
		{Name: "release", Kind: KindDeploy, Planned: true}, {Name: "report", Kind: KindDispatch},
	}}
	for name, c := range map[string]struct {
		scope *Scope
		says  string
	}{
		"the operator":        {nil, ""},
		"both kinds":          {&Scope{Kinds: []KindName{KindDeploy, KindBuild}}, ""},
		"one of them":         {&Scope{Kinds: []KindName{KindBuild}}, "job `release`, which is of the kind deploy; the token may run jobs of the kinds await, build."},
		"the other":           {&Scope{Kinds: []KindName{KindDeploy}}, "job `image`"},
		"none":                {&Scope{}, "job `image`"},
		"one that is not run": {&Scope{Kinds: []KindName{KindDispatch}}, "job `image`"},
	} {
		got := c.scope.refusePlan(plan)
		if !strings.Contains(got, c.says) || (c.says == "") != (got == "") {
			t.Errorf("%s: %q, want %q", name, got, c.says)
		}
	}
}
