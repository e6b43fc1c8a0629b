package jobs

import (
	"cmp"
	"fmt"
	"strings"
)

// maxNamedChecks bounds the checks that a sentence names.
const maxNamedChecks = 3

// Sentence says which checks did not succeed and where to look.
func (v Verdict) Sentence() string {
	var parts []string
	for _, c := range v.Failed[:min(len(v.Failed), maxNamedChecks)] {
		part := fmt.Sprintf("%s ended as %s", checkLabel(c), strings.ReplaceAll(cmp.Or(c.Conclusion, "unknown"), "_", " "))
		if c.URL != "" {
			part += " (" + c.URL + ")"
		}
		parts = append(parts, part)
	}
	if more := len(v.Failed) - maxNamedChecks; more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more did not succeed", more))
	}
	return strings.Join(parts, ", ")
}

// checkLabel is a check as people await it.
func checkLabel(c CommitCheck) string {
	name := c.Name
	if c.Workflow != "" {
		name = c.Workflow + " / " + c.Name
	}
	return Cut(name, 100)
}

// maxCheckRows bounds a table of checks.
const maxCheckRows = 40

// Table shows how checks stand as Markdown: what did not succeed and what is still to come first.
func (v Verdict) Table() string {
	var rows []string
	row := func(icon, name, url, stands string) {
		name = checkCell(name)
		if (strings.HasPrefix(url, "https://") || strings.HasPrefix(url, "http://")) && !strings.ContainsAny(url, " ()<>|\n") {
			name = "[" + name + "](" + url + ")"
		}
		rows = append(rows, fmt.Sprintf("| %s | %s | %s |\n", icon, name, checkCell(stands)))
	}
	for _, c := range v.Failed {
		row("❌", checkLabel(c), c.URL, strings.ReplaceAll(c.Conclusion, "_", " "))
	}
	for _, c := range v.Pending {
		row("⏳", checkLabel(c), c.URL, strings.ReplaceAll(c.Status, "_", " "))
	}
	for _, a := range v.Missing {
		row("⏳", Cut(a.String(), 100), "", "not reported yet")
	}
	for _, c := range v.Passed {
		row("✅", checkLabel(c), c.URL, strings.ReplaceAll(c.Conclusion, "_", " "))
	}
	var b strings.Builder
	b.WriteString("| | check | |\n|---|---|---|\n")
	for _, r := range rows[:min(len(rows), maxCheckRows)] {
		b.WriteString(r)
	}
	if more := len(rows) - maxCheckRows; more > 0 {
		fmt.Fprintf(&b, "\n%d more are left out.\n", more)
	}
	return b.String()
}

var foreignText = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", "&lt;", ">", "&gt;", "|", `\|`, "@", "@\u200b", "\n", " ", "\r", " ")

// checkCell is a foreign text within a table that stays as it is and calls nobody.
func checkCell(s string) string { return foreignText.Replace(s) }
