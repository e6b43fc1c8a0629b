package githubtest

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
)

// Names move, IDs stay: what a repository's administrator does to it in its settings. Each of these sends the repository
// event of its kind to the Apps subscribed to it.

// Rename gives the repository another name. The old one leads to it until somebody else takes it.
func (r *Repository) Rename(name string, user *User) error {
	return r.administer("rename", user, func() error {
		from := r.Name
		if err := r.move(r.Owner, name); err != nil {
			return err
		}
		r.s.emit(r, user, "repository", "renamed", object{"changes": object{"repository": object{"name": object{"from": from}}}})
		return nil
	})
}

// Transfer gives the repository to another account, an organization unless there is a user of that name. Installations on
// the old owner no longer reach it; only those on the new one hear of it.
func (r *Repository) Transfer(owner string, user *User) error {
	return r.administer("transfer", user, func() error {
		from := r.Owner
		if err := r.move(r.s.account(owner, "Organization"), r.Name); err != nil {
			return err
		}
		was := object{"user": r.s.userShape(from)}
		if from.Type == "Organization" {
			was = object{"organization": r.s.organizationShape(from)}
		}
		r.s.emit(r, user, "repository", "transferred", object{"changes": object{"owner": object{"from": was}}})
		return nil
	})
}

// Archive makes the repository read-only: pushes and everything else that writes is refused.
func (r *Repository) Archive(user *User) error {
	return r.administer("archive", user, func() error {
		r.archived = true
		r.s.emit(r, user, "repository", "archived", nil)
		return nil
	})
}

// Unarchive makes an archived repository writable again.
func (r *Repository) Unarchive(user *User) error {
	return r.administer("unarchive", user, func() error {
		r.archived = false
		r.s.emit(r, user, "repository", "unarchived", nil)
		return nil
	})
}

// ChangeDefaultBranch makes another branch the default one.
func (r *Repository) ChangeDefaultBranch(branch string, user *User) error {
	return r.administer("change the default branch of", user, func() error {
		if r.git.commitOf(r.s.done, "refs/heads/"+branch) == "" {
			return fmt.Errorf("there is no branch %s", branch)
		}
		if _, err := r.git.run(r.s.done, nil, "symbolic-ref", "HEAD", "refs/heads/"+branch); err != nil {
			return err
		}
		from := r.DefaultBranch
		r.DefaultBranch = branch
		r.s.emit(r, user, "repository", "edited", object{"changes": object{"default_branch": object{"from": from}}})
		return nil
	})
}

// Delete is DeleteRepository by a user.
func (r *Repository) Delete(user *User) error {
	return r.administer("delete", user, func() error { return r.remove(user) })
}

// DeleteRepository removes a repository; pull requests from it keep their commits but lose their head repository.
func (s *Server) DeleteRepository(r *Repository) error { return r.Delete(r.Owner) }

func (r *Repository) remove(user *User) error {
	r.s.emit(r, user, "repository", "deleted", nil)
	r.deleted = true
	delete(r.s.repositories, strings.ToLower(r.FullName()))
	return os.RemoveAll(r.git.path)
}

func (r *Repository) administer(what string, user *User, do func() error) error {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.deleted || r.role(user) != "admin" {
		return fmt.Errorf("%s %s: it is gone, or %s is no admin of it", what, r.FullName(), user.Login)
	}
	if err := do(); err != nil {
		return fmt.Errorf("%s %s: %w", what, r.FullName(), err)
	}
	return nil
}

// move changes the full name and remembers the old one.
func (r *Repository) move(owner *User, name string) error {
	s, old, target := r.s, strings.ToLower(r.FullName()), strings.ToLower(owner.Login+"/"+name)
	if name == "" || strings.ContainsAny(name, "/ ") || s.repositories[target] != nil {
		return fmt.Errorf("the name %s is taken or malformed", target)
	}
	delete(s.repositories, old)
	delete(s.moved, target)
	r.Owner, r.Name = owner, name
	s.repositories[target], s.moved[old] = r, r
	return nil
}

// movedTo is the repository that had a full name before it was renamed or transferred; nil when there is none.
func (s *Server) movedTo(fullName string) *Repository {
	if r := s.moved[strings.ToLower(fullName)]; r != nil && !r.deleted {
		return r
	}
	return nil
}

var repositoryPath = regexp.MustCompile(`^(/api/v3)?/repos/[^/]+/[^/]+(.*)$`)

// redirect sends the client from a repository's old name to its ID, keeping method and body.
func (c *call) redirect(to *Repository) answer {
	status := http.StatusTemporaryRedirect
	if c.r.Method == http.MethodGet {
		status = http.StatusMovedPermanently
	}
	target := c.s.api("repositories/%d", to.ID) + repositoryPath.FindStringSubmatch(c.r.URL.EscapedPath())[2]
	if c.r.URL.RawQuery != "" {
		target += "?" + c.r.URL.RawQuery
	}
	a := refuse(status, "Moved Permanently")
	a.body.(object)["url"] = target
	a.header.Set("Location", target)
	return a
}

var repositoryByID = regexp.MustCompile(`^/repositories/([0-9]+)(/.*)?$`)

// byNameUnlocked turns a path below /repositories/ID into the one with the repository's name of today.
func (s *Server) byNameUnlocked(path string) string {
	parts := repositoryByID.FindStringSubmatch(path)
	if parts == nil {
		return path
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.repositories {
		if fmt.Sprint(r.ID) == parts[1] {
			return "/repos/" + r.FullName() + parts[2]
		}
	}
	return path
}

// isRedirect tells the statuses that lead to a repository's new name. Not all operations document them.
func isRedirect(status int) bool {
	return status == http.StatusMovedPermanently || status == http.StatusTemporaryRedirect
}
