package webhook

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/slipway-ci/slipway/jobs"
)

// Bounds of a comment's commands.
const (
	maxComment     = 64 << 10 // bytes of a comment that are looked at
	maxCommands    = 10       // of a comment
	maxCommandLine = 2000     // bytes
	maxCommandText = 200      // bytes of the line that are kept as written
	maxWords       = 50       // after the name
)

// CommandOptions say which commands are ours.
type CommandOptions struct {
	// Prefix is a further word that addresses us, such as slipway: /slipway deploy staging. Empty: there is none.
	Prefix string
	// RequirePrefix leaves commands without the Prefix alone; they are for other bots. It has no effect without a Prefix.
	RequirePrefix bool
}

// Commands finds the commands in a comment: lines that start with a slash and a name, with at most three spaces before
// it, in the running text as GitHub renders it. Lines in code, quotes, lists, tables, headings, HTML comments and the
// like are not commands; those in <details> are. At most ten are returned; an eleventh has a Fault that says so.
//
// Names match in any case. What follows a name is split at blanks; straight quotes group, and key=value names a value.
// Paths (/usr/bin) are left alone. Whether a command is ours or another bot's is for those to tell who know the pipeline.
func Commands(body string, o CommandOptions) []jobs.Command {
	body = normalise(body)
	lines := strings.Split(body, "\n")
	places := make([]string, len(lines)) // of the lines that look like commands: what follows the slash
	found := false
	for i, line := range lines {
		if after, ok := slashLine(line); ok {
			places[i] = after
			if _, ours := o.read(after); ours {
				found = true
			}
		}
	}
	if !found {
		return nil // most comments: Markdown need not be looked at
	}
	text := renderedLines(body)
	var commands []jobs.Command
	place := -1
	for i, after := range places {
		if after == "" || !text.starts[i] {
			continue
		}
		place++
		after = text.visible(i, after)
		c, ours := o.read(after)
		if !ours {
			continue
		}
		c.Place, c.Line, c.Text = place, i+1, start(lines[i], maxCommandText)
		if len(commands) == maxCommands {
			c.Fault = fmt.Sprintf("only the first %d commands of a comment are looked at; write the others in another one", maxCommands)
			c.Args, c.Named = nil, nil
			return append(commands, c)
		}
		commands = append(commands, c)
	}
	return commands
}

// normalise makes line ends alike, and cuts what is too long where a paragraph ends, so that what is left reads as it
// did in the whole.
func normalise(body string) string {
	cut := len(body) > maxComment
	if cut {
		body = body[:maxComment]
	}
	body = strings.ReplaceAll(body, "\r\n", "\n")
	body = strings.ReplaceAll(body, "\r", "\n")
	if cut {
		body = body[:paragraphsEnd(body, len(body))]
	}
	return body
}

// paragraphsEnd is where a text is cut so that nothing beyond at is left, and no paragraph in part.
func paragraphsEnd(s string, at int) int { return max(strings.LastIndex(s[:at], "\n\n"), 0) }

// commandForm is a command's name, in any case.
var commandForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,31}$`)

// slashLine returns what follows the slash of a line that has the form of a command.
func slashLine(line string) (after string, ok bool) {
	trimmed := strings.TrimLeft(line, " ")
	if len(line)-len(trimmed) > 3 || !strings.HasPrefix(trimmed, "/") {
		return "", false
	}
	name, _ := cutWord(trimmed[1:])
	return trimmed[1:], commandForm.MatchString(name)
}

// cutWord splits a text at its first blank. The rest has no blanks around it.
func cutWord(s string) (word, rest string) {
	if i := strings.IndexFunc(s, unicode.IsSpace); i >= 0 {
		return s[:i], strings.TrimSpace(s[i:])
	}
	return s, ""
}

// read takes what follows a slash as a command. ours tells whether it is for us.
func (o CommandOptions) read(after string) (c jobs.Command, ours bool) {
	name, rest := cutWord(after)
	addressed := o.Prefix != "" && strings.EqualFold(name, o.Prefix)
	if addressed {
		if name, rest = cutWord(rest); name == "" {
			name = "help"
		}
		name = strings.TrimPrefix(name, "/") // /slipway /deploy is clear enough
	} else if o.RequirePrefix && o.Prefix != "" {
		return c, false
	}
	c.Name, c.Addressed = strings.ToLower(name), addressed
	if addressed && !commandForm.MatchString(name) {
		c.Name = ""
		c.Fault = fmt.Sprintf("%s can't be a command's name; /%s help lists the commands", quoted(name), o.Prefix)
		return c, true
	}
	c.Args, c.Named, c.Fault = arguments(rest)
	if len(after) > maxCommandLine {
		c.Args, c.Named = nil, nil
		c.Fault = fmt.Sprintf("the command has %d bytes, more than %d", len(after), maxCommandLine)
	}
	return c, true
}

// start is the beginning of a text, at most n bytes, with no character cut in half.
func start(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
