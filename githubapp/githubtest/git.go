package githubtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// gitDir is a bare repository. Everything about git's data is asked of the git program itself.
type gitDir struct {
	path  string
	known *sync.Map // SHA → commitInfo: a commit never changes, and nothing is ever collected
}

func newGitDir(path string) gitDir { return gitDir{path: path, known: &sync.Map{}} }

const zeroSHA = "0000000000000000000000000000000000000000"

// gitTimeout bounds every call of git.
const gitTimeout = time.Minute

// gitEnvironment keeps the machine's own git settings out.
func gitEnvironment() []string {
	return append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_TERMINAL_PROMPT=0", "LC_ALL=C", "TZ=UTC",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		"GIT_AUTHOR_NAME=GitHub", "GIT_AUTHOR_EMAIL=noreply@example.com", "GIT_COMMITTER_NAME=GitHub", "GIT_COMMITTER_EMAIL=noreply@example.com")
}

// run calls git in the repository and returns what it printed.
func (g gitDir) run(ctx context.Context, stdin []byte, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, "git", append([]string{"--git-dir=" + g.path}, args...)...)
	command.Env = gitEnvironment()
	command.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("git %s: %w: %s", args[0], err, cut(strings.TrimSpace(stderr.String()), 2000))
	}
	return stdout.Bytes(), nil
}

// line calls git and returns its one line of output, or "" when git refused.
func (g gitDir) line(ctx context.Context, args ...string) string {
	out, err := g.run(ctx, nil, args...)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

func (g gitDir) create(ctx context.Context, defaultBranch string) error {
	command := exec.CommandContext(ctx, "git", "init", "--quiet", "--bare", "--template=", "--initial-branch="+defaultBranch, g.path)
	command.Env = gitEnvironment()
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("git init: %w: %s", err, out)
	}
	config, err := os.OpenFile(g.path+"/config", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer config.Close()
	// As on GitHub: any commit can be fetched by its SHA, and refs/pull is not for pushing.
	_, err = config.WriteString("[http]\n\treceivepack = true\n[uploadpack]\n\tallowAnySHA1InWant = true\n\tallowFilter = true\n" +
		"[receive]\n\thideRefs = refs/pull\n\tautogc = false\n[gc]\n\tauto = 0\n[core]\n\tlogAllRefUpdates = false\n")
	return err
}

// refs are the branches and tags with what they point to; an annotated tag points to its tag object.
func (g gitDir) refs(ctx context.Context) (map[string]string, error) {
	out, err := g.run(ctx, nil, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", "refs/tags")
	if err != nil {
		return nil, err
	}
	refs := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, sha, _ := strings.Cut(strings.TrimSpace(line), " ")
		refs[name] = sha
	}
	return refs, nil
}

// commitOf resolves a branch, tag, full ref or SHA to a commit, in GitHub's order; "" when there is none.
func (g gitDir) commitOf(ctx context.Context, ref string) string {
	if ref == "" || strings.HasPrefix(ref, "-") || strings.ContainsAny(ref, " ^~:?*[\\\x00") || strings.Contains(ref, "..") || strings.Contains(ref, "@{") {
		return ""
	}
	candidates := []string{"refs/heads/" + ref, "refs/tags/" + ref, ref}
	if strings.HasPrefix(ref, "refs/") || ref == "HEAD" {
		candidates = []string{ref}
	} else if isSHA(ref) {
		candidates = []string{ref}
	}
	for _, candidate := range candidates {
		if _, known := g.known.Load(candidate); known {
			return candidate
		}
		if sha := g.line(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", candidate+"^{commit}"); sha != "" {
			return sha
		}
	}
	return ""
}

func isSHA(text string) bool {
	return len(text) == 40 && strings.Trim(text, "0123456789abcdef") == ""
}

// commitInfo is one commit.
type commitInfo struct {
	sha, tree                     string
	parents                       []string
	authorName, authorEmail       string
	committerName, committerEmail string
	authored, committed           time.Time
	message                       string
	added, modified, removed      []string // filled by withFiles
}

const commitFormat = "%H%x00%T%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B%x00%x01"

// commits lists commits, newest first, as git log takes them: "a..b", "sha", with a limit.
func (g gitDir) commits(ctx context.Context, limit int, revisions ...string) ([]commitInfo, error) {
	args := append([]string{"log", "--topo-order", fmt.Sprintf("--max-count=%d", limit), "--format=" + commitFormat, "--end-of-options"}, revisions...)
	out, err := g.run(ctx, nil, append(args, "--")...)
	if err != nil {
		return nil, err
	}
	var list []commitInfo
	for record := range strings.SplitSeq(string(out), "\x00\x01\n") {
		fields := strings.Split(record, "\x00")
		if len(fields) < 10 {
			continue
		}
		c := commitInfo{sha: fields[0], tree: fields[1], parents: strings.Fields(fields[2]), authorName: fields[3], authorEmail: fields[4],
			committerName: fields[6], committerEmail: fields[7], message: strings.TrimRight(fields[9], "\n")}
		c.authored, _ = time.Parse(time.RFC3339, fields[5])
		c.committed, _ = time.Parse(time.RFC3339, fields[8])
		list = append(list, c)
	}
	return list, nil
}

// commit is one commit by SHA.
func (g gitDir) commit(ctx context.Context, sha string) (commitInfo, error) {
	if known, found := g.known.Load(sha); found {
		return known.(commitInfo), nil
	}
	list, err := g.commits(ctx, 1, sha)
	if err != nil {
		return commitInfo{}, err
	}
	if len(list) == 0 {
		return commitInfo{}, errors.New("no such commit: " + sha)
	}
	g.known.Store(list[0].sha, list[0])
	return list[0], nil
}

// fileChange is one entry of a diff.
type fileChange struct {
	path, previous       string
	status               string // added, modified, removed, renamed
	sha                  string // the blob after the change; before it when removed
	additions, deletions int
	patch                string
}

// diff compares two trees or commits; from "" means the empty tree. Patches are filled when asked for.
func (g gitDir) diff(ctx context.Context, from, to string, patches bool) ([]fileChange, error) {
	if from == "" {
		from = "4b825dc642cb6eb9a060e54bf8d69288fbee4904" // git's name for the empty tree
	}
	raw, err := g.run(ctx, nil, "diff-tree", "-r", "-z", "-M", "--raw", "--numstat", "--no-abbrev", from, to)
	if err != nil {
		return nil, err
	}
	var changes []fileChange
	at := map[string]int{}
	fields := strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00")
	for i := 0; i < len(fields); i++ {
		field := fields[i]
		if field == "" {
			continue
		}
		if field[0] == ':' {
			part := strings.Fields(field[1:]) // mode mode sha sha status
			change := fileChange{sha: part[3]}
			i++
			change.path = fields[i]
			switch part[4][0] {
			case 'A':
				change.status = "added"
			case 'D':
				change.status, change.sha = "removed", part[2]
			case 'R':
				i++
				change.status, change.previous, change.path = "renamed", fields[i-1], fields[i]
			default:
				change.status = "modified"
			}
			at[change.path] = len(changes)
			changes = append(changes, change)
			continue
		}
		counts := strings.SplitN(field, "\t", 3) // additions, deletions, path; a rename has its two paths in the next fields
		if len(counts) < 3 {
			continue
		}
		path := counts[2]
		if path == "" {
			path = fields[i+2]
			i += 2
		}
		if n, found := at[path]; found {
			changes[n].additions, changes[n].deletions = number(counts[0], 0), number(counts[1], 0)
		}
	}
	if patches && len(changes) > 0 && len(changes) <= 300 {
		text, err := g.run(ctx, nil, "diff-tree", "-r", "-M", "-p", "--no-prefix", "-c", "--no-color", from, to)
		if err != nil {
			return nil, err
		}
		for section := range strings.SplitSeq("\n"+string(text), "\ndiff --git ") {
			for i := range changes {
				hunk := strings.Index(section, "\n@@ ")
				if hunk >= 0 && strings.HasPrefix(section, cmpPath(changes[i])+"\n") {
					changes[i].patch = cut(strings.TrimSuffix(section[hunk+1:], "\n"), 20000)
				}
			}
		}
	}
	return changes, nil
}

// cmpPath is how a change is named in the first line of its patch.
func cmpPath(change fileChange) string {
	if change.previous != "" {
		return change.previous + " " + change.path
	}
	return change.path + " " + change.path
}

// withFiles fills in which files commits added, modified and removed against their first parents.
func (g gitDir) withFiles(ctx context.Context, list []commitInfo) error {
	var pairs strings.Builder
	for _, c := range list {
		pairs.WriteString(c.sha)
		if len(c.parents) > 0 {
			pairs.WriteString(" " + c.parents[0])
		}
		pairs.WriteByte('\n')
	}
	out, err := g.run(ctx, []byte(pairs.String()), "diff-tree", "--stdin", "--root", "-r", "-z", "--no-renames", "--name-status")
	if err != nil {
		return err
	}
	// The answer keeps the order, without the commits that changed nothing: a SHA, then a letter and a path for each file.
	fields, at := strings.Split(string(out), "\x00"), -1
	for i := 0; i+1 < len(fields); i++ {
		if isSHA(fields[i]) {
			for at++; list[at].sha != fields[i]; at++ {
			}
			continue
		}
		c := &list[at]
		status, path := fields[i], fields[i+1]
		i++
		switch status {
		case "A":
			c.added = append(c.added, path)
		case "D":
			c.removed = append(c.removed, path)
		default:
			c.modified = append(c.modified, path)
		}
	}
	return nil
}

// isAncestor reports whether a is b or an ancestor of it.
func (g gitDir) isAncestor(ctx context.Context, a, b string) bool {
	_, err := g.run(ctx, nil, "merge-base", "--is-ancestor", a, b)
	return err == nil
}

// merge makes the commit that merges head into base, without moving anything; ok is false when they conflict.
func (g gitDir) merge(ctx context.Context, base, head, message string, user *User) (sha string, ok bool) {
	tree := g.line(ctx, "merge-tree", "--write-tree", base, head)
	if !isSHA(tree) {
		return "", false
	}
	sha = g.line(ctx, "-c", "user.name="+user.Login, "-c", "user.email="+user.Email(), "commit-tree", tree, "-p", base, "-p", head, "-m", message)
	return sha, isSHA(sha)
}

// borrow copies a commit and its history from another repository, as a fork's commits can be read through its parent.
func (g gitDir) borrow(ctx context.Context, from gitDir, sha string) error {
	if from == g {
		return nil
	}
	_, err := g.run(ctx, nil, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", from.path, sha)
	return err
}
