package webhook

import (
	"slices"
	"strings"
)

// otherBots are names of commands that other bots answer to (Prow, Pipelines-as-Code, Azure Pipelines, Cloud Build, merge
// and review bots), and a few plain words. They are never taken for misspelt commands of ours.
var otherBots = strings.Fields(`
	ai approvers area ask assign azp backport bench block cc check-cla cherry-pick cherrypick close describe duplicate
	easycla format gcbrun good-first-issue hold honk improve joke kind label lgtm lifecycle meow merge milestone override
	pipeline play pony preview priority queue rebase release remove remote reopen reply rerun retest retest-required retitle
	review run shrug sig skip squash start test test-all triage unassign uncc unhold unlabel update verify woof`)

// Suggestion returns the one of the names that a word looks like, or "" when it looks like none, is one of them, or is
// a well-known command of another bot. Names up to four letters may differ by one letter, longer ones by two.
func Suggestion(word string, names []string) string {
	word = strings.ToLower(word)
	if slices.Contains(names, word) || slices.Contains(otherBots, word) {
		return ""
	}
	best, least := "", 3
	for _, name := range names {
		most := 2
		if len(name) <= 4 {
			most = 1
		}
		if strings.ReplaceAll(word, "-", "") == strings.ReplaceAll(name, "-", "") {
			return name // oktotest
		}
		if d := editDistance(word, name); d <= most && d < least {
			best, least = name, d
		}
	}
	return best
}

// editDistance counts the letters to add, drop, change or swap with their neighbour (optimal string alignment).
func editDistance(a, b string) int {
	const far = 99
	if len(a)-len(b) > 2 || len(b)-len(a) > 2 || len(a) > 64 || len(b) > 64 {
		return far
	}
	var before, last []int // rows for a[:i-2] and a[:i-1]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
