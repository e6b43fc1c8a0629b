package jobs

// A Command is one line of a comment that is meant for us: a slash, a name and what follows it.
type Command struct {
	// Place is the command's place among all lines of the comment that have the form of one, from 0, also those of other
	// bots. It is the same whatever names are known when the comment is read, so that it can be part of a key.
	Place int    `json:"place"`
	Line  int    `json:"line"` // in the comment, from 1
	Name  string `json:"name"` // lower case, without the slash and the prefix
	// Addressed is set when the prefix says that the command is for us, whatever its name.
	Addressed bool `json:"addressed,omitempty"`
	// What follows the name. Both are nil when there is a Fault.
	Args  []string          `json:"args,omitempty"`  // by position, without their quotes
	Named map[string]string `json:"named,omitempty"` // written key=value
	Text  string            `json:"text"`            // the line as written, at most its first 200 bytes
	// Fault is set when the line can't be obeyed as it is written: a sentence that says why, without a full stop.
	// It may quote what the comment's writer wrote.
	Fault string `json:"fault,omitempty"`
}

// The types of a command's argument.
const (
	ArgString  = "string"  // any text; a Pattern may narrow it
	ArgChoice  = "choice"  // one of Options
	ArgBoolean = "boolean" // true or false
	ArgNumber  = "number"  // digits with an optional sign and fraction
)

// ArgSpec is what a pipeline file says about one argument of a command.
type ArgSpec struct {
	Type        string   `json:"type,omitempty"`        // one of string (the default), choice, boolean, number
	Description string   `json:"description,omitempty"` // for /help; at most 200 bytes
	Required    bool     `json:"required,omitempty"`    // refuse the command without it
	Default     any      `json:"default,omitempty"`     // of the argument's type; without it: "" or false
	Pattern     string   `json:"pattern,omitempty"`     // of a string: an RE2 expression that all of it must match
	Options     []string `json:"options,omitempty"`     // of a choice: 1 to 50 texts
}

// CommandArg is an argument with its name. Their order is that of the pipeline file: values without a name are taken in it.
type CommandArg struct {
	Name string `json:"name"`
	ArgSpec
}
