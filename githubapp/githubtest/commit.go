package githubtest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Deleted as a file's content removes the file.
const Deleted = "\x00deleted"

// CommitOptions describe one commit that is made and pushed.
type CommitOptions struct {
	Branch  string // empty: the default branch; made when missing
	Message string // empty: "Change"
	// Files are paths with their new contents, Deleted to remove one. Files not named stay as they are.
	Files      map[string]string
	Executable []string          // paths among Files that get the executable bit
	Symlinks   map[string]string // path → target
	Author     *User             // who commits and pushes, and must be allowed to; nil: the repository's owner
	Parent     string            // SHA to build on; empty: the branch's head, or the default branch's for a new branch
	Orphan     bool              // no parent at all
}

// Commit changes files on a branch and pushes the commit as author: webhooks fire. It returns the commit's SHA.
func (r *Repository) Commit(branch, message string, files map[string]string, author *User) (string, error) {
	return r.CommitWith(CommitOptions{Branch: branch, Message: message, Files: files, Author: author})
}

// CommitWith is Commit with everything that can be chosen. A commit that doesn't descend from the branch's head is a
// forced push.
func (r *Repository) CommitWith(options CommitOptions) (string, error) {
	if options.Author == nil {
		options.Author = r.Owner
	}
	if options.Branch == "" {
		options.Branch = r.DefaultBranch
	}
	if options.Message == "" {
		options.Message = "Change"
	}
	if err := r.refuseUnlocked(options.Author, options.Branch); err != nil {
		return "", err
	}
	sha := ""
	err := r.push(options.Author, func() error {
		made, err := r.write(options)
		if err != nil {
			return err
		}
		sha = made
		_, err = r.git.run(r.s.done, nil, "update-ref", "refs/heads/"+options.Branch, sha)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("commit to %s of %s: %w", options.Branch, r.FullName(), err)
	}
	return sha, nil
}

// write makes the commit without moving a branch.
func (r *Repository) write(options CommitOptions) (string, error) {
	parent := options.Parent
	if parent == "" && !options.Orphan {
		if parent = r.git.commitOf(r.s.done, "refs/heads/"+options.Branch); parent == "" {
			parent = r.git.commitOf(r.s.done, "refs/heads/"+r.DefaultBranch)
		}
	}
	const scratch = "refs/slipway/scratch" // refs outside heads and tags cause no events
	when := r.s.options.Clock()
	var stream bytes.Buffer
	fmt.Fprintf(&stream, "commit %s\nmark :1\n", scratch)
	for _, role := range []string{"author", "committer"} {
		fmt.Fprintf(&stream, "%s %s <%s> %d +0000\n", role, options.Author.Login, options.Author.Email(), when.Unix())
	}
	blob := func(content string) { fmt.Fprintf(&stream, "data %d\n%s\n", len(content), content) }
	blob(options.Message)
	if parent != "" {
		fmt.Fprintf(&stream, "from %s\n", parent)
	}
	for _, path := range slices.Sorted(maps.Keys(options.Files)) {
		switch content := options.Files[path]; {
		case content == Deleted:
			fmt.Fprintf(&stream, "D %s\n", quoted(path))
		default:
			mode := "100644"
			if slices.Contains(options.Executable, path) {
				mode = "100755"
			}
			fmt.Fprintf(&stream, "M %s inline %s\n", mode, quoted(path))
			blob(content)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(options.Symlinks)) {
		fmt.Fprintf(&stream, "M 120000 inline %s\n", quoted(path))
		blob(options.Symlinks[path])
	}
	fmt.Fprintf(&stream, "get-mark :1\ndone\n")
	out, err := r.git.run(r.s.done, stream.Bytes(), "fast-import", "--quiet", "--done", "--force", "--cat-blob-fd=1")
	if err != nil {
		return "", err
	}
	sha := strings.TrimSpace(string(out))
	if !isSHA(sha) {
		return "", fmt.Errorf("git fast-import printed %q instead of a commit", sha)
	}
	_, err = r.git.run(r.s.done, nil, "update-ref", "-d", scratch)
	return sha, err
}

// quoted is a path as git fast-import reads it.
func quoted(path string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(path) + `"`
}

// SetRef moves a branch or tag ("refs/heads/x", "refs/tags/v1") to a commit, or makes it, pushing as user.
func (r *Repository) SetRef(ref, sha string, user *User) error {
	return r.SetRefs(map[string]string{ref: sha}, user)
}

// SetRefs moves several refs in one push; an empty SHA deletes the ref.
func (r *Repository) SetRefs(refs map[string]string, user *User) error {
	if err := r.refuseUnlocked(user, ""); err != nil {
		return err
	}
	return r.push(user, func() error {
		for _, ref := range slices.Sorted(maps.Keys(refs)) {
			if !strings.HasPrefix(ref, "refs/heads/") && !strings.HasPrefix(ref, "refs/tags/") {
				return errors.New("set ref " + ref + ": it must begin with refs/heads/ or refs/tags/")
			}
			if err := r.updateRef(ref, refs[ref]); err != nil {
				return err
			}
		}
		return nil
	})
}

// updateRef moves a ref, or deletes it when sha is empty.
func (r *Repository) updateRef(ref, sha string) error {
	args := []string{"update-ref", ref, sha}
	if sha == "" {
		args = []string{"update-ref", "-d", ref}
	}
	_, err := r.git.run(r.s.done, nil, args...)
	return err
}

// DeleteRef deletes a branch or tag, pushing as user.
func (r *Repository) DeleteRef(ref string, user *User) error { return r.SetRef(ref, "", user) }

// Tag makes an annotated tag on a commit, pushing as user.
func (r *Repository) Tag(name, sha, message string, user *User) error {
	when := r.s.options.Clock()
	text := fmt.Sprintf("object %s\ntype commit\ntag %s\ntagger %s <%s> %d +0000\n\n%s\n", sha, name, user.Login, user.Email(), when.Unix(), message)
	object, err := r.git.run(r.s.done, []byte(text), "mktag")
	if err != nil {
		return fmt.Errorf("tag %s: %w", name, err)
	}
	return r.SetRef("refs/tags/"+name, strings.TrimSpace(string(object)), user)
}

// Head is the commit a branch points to; "" when there is no such branch.
func (r *Repository) Head(branch string) string {
	return r.git.commitOf(r.s.done, "refs/heads/"+branch)
}

// push runs change, which moves refs, and sends the webhooks that GitHub sends for what moved.
func (r *Repository) push(user *User, change func() error) error {
	done := r.s.busyUnlocked()
	defer done()
	r.pushing.Lock()
	defer r.pushing.Unlock()
	before, err := r.git.refs(r.s.done)
	if err != nil {
		return err
	}
	failed := change()
	after, err := r.git.refs(r.s.done)
	if err != nil {
		return err
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return errors.Join(failed, r.moved(user, before, after))
}
