package pipeline

import (
	"reflect"
	"slices"

	"github.com/slipway-ci/slipway/jobs"
)

// reservedCommands are names that a later version has a meaning for.
func reservedCommands() []string { return []string{"plan", "promote", "lock", "unlock"} }

// Commands are the commands that a pipeline file declares by on.command, each once, in the file's order. Those whose
// declaration is faulty are left out.
func Commands(content []byte, path string) []jobs.DeclaredCommand {
	var list []jobs.DeclaredCommand
	for _, c := range parse(content, path).commands() {
		list = append(list, *c)
	}
	return list
}

// commands are the file's commands, in its order.
func (f *file) commands() []*jobs.DeclaredCommand {
	var list []*jobs.DeclaredCommand
	for _, j := range f.jobs {
		if c := j.command(); c != nil && !slices.ContainsFunc(list, func(other *jobs.DeclaredCommand) bool { return other.Name == c.Name }) {
			list = append(list, c)
		}
	}
	return list
}

// command is the command that starts a job, or nil.
func (j *job) command() *jobs.DeclaredCommand {
	if j.trigger == nil {
		return nil
	}
	return j.trigger.command
}

// readCommand takes on.command apart; nil when it is faulty, which was or is reported.
func (f *file) readCommand(n *node) *jobs.DeclaredCommand {
	name := n.get("name")
	if name == nil || !f.sound(n, OnCommand{}) {
		return nil
	}
	c := &jobs.DeclaredCommand{Name: name.text}
	if d := n.get("description"); d != nil {
		c.Description = d.text
	}
	if args := n.get("args"); args != nil {
		for _, e := range args.entries {
			arg := jobs.CommandArg{Name: e.key.text}
			if err := e.val.into(&arg.ArgSpec); err != nil {
				f.report.meaning(e.val, "on.command.args.%s can't be read: %v", shorten(arg.Name), err)
				return nil
			}
			c.Args = append(c.Args, arg)
		}
	}
	good := true
	bad := func(at *node, format string, args ...any) {
		f.report.meaning(at, format, args...)
		good = false
	}
	switch {
	case !commandForm.MatchString(c.Name):
		bad(name, "on.command.name %q can't be a command: write up to 32 lower-case letters, digits and -, beginning with a letter", shorten(c.Name))
	case builtin(c.Name):
		bad(name, "on.command.name %s is a command that every repository has", c.Name)
	case slices.Contains(reservedCommands(), c.Name):
		bad(name, "on.command.name %s is kept for a later version", c.Name)
	}
	if len(c.Description) > 200 {
		bad(n.get("description"), "on.command.description has %d bytes, more than 200", len(c.Description))
	}
	for _, fault := range jobs.CheckArgs(c.Args) {
		bad(n.get("args"), "on.command.args: %s", fault)
	}
	if !good {
		return nil
	}
	return c
}

// sound reports whether a node has the form of a type; what is wrong was reported with the whole file.
func (f *file) sound(n *node, v any) bool {
	d := decoder{report: &report{}}
	d.check(n, reflect.TypeOf(v), "", "")
	return len(d.faults) == 0
}

// checkCommands finds commands that two jobs declare in two ways. A job that only names a command shares the declaration of
// another.
func (f *file) checkCommands() {
	said := map[string]*jobs.DeclaredCommand{}
	for _, j := range f.jobs {
		if c := j.command(); c != nil && said[c.Name] == nil && !bare(c) {
			said[c.Name] = c
		}
	}
	for _, j := range f.jobs {
		c := j.command()
		if c == nil || said[c.Name] == nil || said[c.Name] == c {
			continue
		}
		own := *j.trigger
		own.command = said[c.Name]
		if !bare(c) && !reflect.DeepEqual(c, own.command) {
			f.report.job = j.name
			f.report.meaning(j.node.get("on").get("command"), "another job declares the command %s otherwise: write the same, or only its name", c.Name)
			f.report.job = ""
			own.command = nil
		}
		j.trigger = &own
	}
}

// bare reports whether nothing but a command's name is written.
func bare(c *jobs.DeclaredCommand) bool { return c.Description == "" && len(c.Args) == 0 }
